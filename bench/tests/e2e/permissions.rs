//! Every cell of the table of permissions, by real accounts on a running cluster: what it allows has
//! an effect, what it refuses is refused with the code that it says.

use std::time::Duration;

use bench::cluster::Cluster;
use client_sdk::estop::Scope;
use client_sdk::{
    AccountId, CapabilityCard, Client, ClientConfig, ConversationId, Error, ErrorCode, Events,
    GroupUpdate, MarkKind, NewCommand, NewEnrolment, Outgoing, Priority, Role, Search, SendError,
    SequenceNumber, Targets, WatchFilter,
};
use deploy::authority::TokenKind;
use im_logic::permission::{self, Action, TABLE};
use protocol::role::ROLES;
use protocol::wire::AccountKind;
use service_kit::clock;

use crate::http_client::Web;
use crate::people::text;

/// For the commands, which nobody carries out.
const COMMAND_TIME: Duration = Duration::from_secs(1);

/// The owner of every group, those whom things are done to, and those who do them.
struct Cast {
    boss: Client,
    others: Vec<(AccountId, Role)>,
    outsider: AccountId,
    /// The robot in every group that is commanded.
    porter: AccountId,
    actors: Vec<(AccountKind, Client)>,
    /// The same by HTTP.
    admins: Vec<Web>,
    _events: Vec<Events>,
}

impl Cast {
    async fn of(cluster: &Cluster) -> Self {
        let mut events = Vec::new();
        let mut connect = async |config: ClientConfig| {
            let (client, heard) = Client::connect(config).await.unwrap();
            events.push(heard);
            client
        };
        let boss = connect(cluster.operator("boss").unwrap()).await;
        let mut others = Vec::new();
        for role in ROLES {
            let name = format!("other-{}", role as i32);
            let other = connect(cluster.operator(&name).unwrap()).await;
            others.push((other.account().id, role));
        }
        let outsider = connect(cluster.operator("outsider").unwrap()).await;
        let porter = connect(cluster.robot("porter").unwrap()).await;
        // Whose certificates are taken away.
        connect(cluster.robot("spare").unwrap()).await;
        let actors = vec![
            (
                AccountKind::Operator,
                connect(cluster.operator("actor").unwrap()).await,
            ),
            (
                AccountKind::Planner,
                connect(cluster.planner("thinker").unwrap()).await,
            ),
            (
                AccountKind::Robot,
                connect(cluster.robot("machine").unwrap()).await,
            ),
        ];
        let robot = cluster.authority().robot("machine", clock::unix_ms());
        let robot = robot.unwrap();
        let mut planner = Web::admin(cluster, "", None);
        planner.token = std::fs::read_to_string(
            cluster
                .authority()
                .token(TokenKind::Planner, "thinker", clock::unix_ms())
                .unwrap(),
        )
        .unwrap();
        let mut machine = Web::admin(cluster, "", Some(&robot));
        machine.token = String::new();
        Self {
            admins: vec![Web::admin(cluster, "actor", None), planner, machine],
            porter: porter.account().id,
            outsider: outsider.account().id,
            boss,
            others,
            actors,
            _events: events,
        }
    }

    /// A group with one of each role in it, and the actor as this.
    async fn stage(&self, actor: &Client, role: Option<Role>) -> (ConversationId, SequenceNumber) {
        let group = self
            .boss
            .create_group("矩阵", &[self.porter])
            .await
            .unwrap();
        for (account, role) in &self.others {
            self.boss
                .add_members(group, &[*account], *role)
                .await
                .unwrap();
        }
        let said = self.boss.send(group, text("开始")).await.unwrap();
        if let Some(role) = role {
            let id = actor.account().id;
            self.boss.add_members(group, &[id], role).await.unwrap();
        }
        (group, said.sequence)
    }

    /// What the administration API says to the same account.
    async fn administers(&self, actor: &Client, path: &str) -> Option<ErrorCode> {
        let mut actors = self.actors.iter().zip(&self.admins);
        let id = actor.account().id;
        let (_, web) = actors.find(|((_, its), _)| its.account().id == id).unwrap();
        let (status, answer) = web.get(path).await;
        if status.is_success() {
            return None;
        }
        let number = answer["error"]["number"].as_i64().unwrap();
        ErrorCode::try_from(i32::try_from(number).unwrap()).ok()
    }

    fn other(&self, role: Role) -> AccountId {
        let mut others = self.others.iter();
        others.find(|(_, its)| *its == role).unwrap().0
    }
}

/// The code of a refusal; what went well must have changed something.
fn changed(result: Result<SequenceNumber, Error>) -> Option<ErrorCode> {
    match result {
        Ok(sequence) => {
            assert!(sequence > SequenceNumber::ZERO, "nothing has changed");
            None
        }
        Err(error) => Some(code(error)),
    }
}

fn code(error: Error) -> ErrorCode {
    let Error::Refused(refusal) = error else {
        panic!("{error}");
    };
    refusal.code
}

fn asked<T>(result: Result<T, Error>) -> Option<ErrorCode> {
    result.err().map(code)
}

fn sent<T>(result: Result<T, SendError>) -> Option<ErrorCode> {
    match result {
        Ok(_) => None,
        Err(SendError::Refused(refusal)) => Some(refusal.code),
        Err(other) => panic!("{other}"),
    }
}

async fn act(
    cast: &Cast,
    actor: &Client,
    action: Action,
    (group, first): (ConversationId, SequenceNumber),
) -> Option<ErrorCode> {
    let add = async |role: Role| changed(actor.add_members(group, &[cast.outsider], role).await);
    let remove = async |role: Role| {
        let who = cast.other(role);
        changed(actor.change_members(group, &[], &[who]).await)
    };
    let update = async |update: GroupUpdate| changed(actor.update_group(group, update).await);
    match action {
        Action::ReadHistory => asked(actor.pull(group, SequenceNumber::ZERO, 0).await),
        Action::SearchHistory => asked(actor.search(group, Search::text("开始")).await),
        Action::ListMembers => asked(actor.members_page(group, None, 0).await),
        Action::DescribeGroup => asked(actor.group(group).await),
        Action::ListLacking => asked(actor.lacking(group, first, MarkKind::Delivered, None).await),
        Action::SendMessage => sent(actor.send(group, text("报告")).await),
        Action::SendEphemeral => asked(actor.send_ephemeral(group, "k", text("在")).await),
        Action::SendEmergency => {
            let alarm = Outgoing::new(group, text("停")).priority(Priority::Emergency);
            sent(actor.send_with(alarm).await)
        }
        Action::AmendOwn => sent(actor.edit(group, first, text("改")).await),
        Action::AddMember => add(Role::Member).await,
        Action::MakeAdmin => add(Role::Admin).await,
        Action::MakeOwner => add(Role::Owner).await,
        Action::ChangeMember => {
            let removed = remove(Role::Observer).await;
            let less = [(cast.other(Role::Member), Role::Observer)];
            let made_less = changed(actor.change_roles(group, &less).await);
            assert_eq!(removed, made_less, "both are one right");
            removed
        }
        Action::ChangeAdmin => remove(Role::Admin).await,
        Action::ChangeOwner => remove(Role::Owner).await,
        Action::Leave => changed(actor.leave(group).await),
        Action::Rename => {
            update(GroupUpdate {
                name: Some("新名".into()),
                ..GroupUpdate::default()
            })
            .await
        }
        Action::SetAttributes => {
            update(GroupUpdate {
                set: [("区".into(), "B".into())].into(),
                ..GroupUpdate::default()
            })
            .await
        }
        Action::Dissolve => changed(actor.dissolve_group(group).await),
        Action::CreateGroup => asked(actor.create_group("自己的", &[]).await),
        Action::ListOnline => asked(actor.online().await),
        Action::CollectMedia => asked(actor.collect_media().await),
        Action::SendCommand
        | Action::SuperviseCommands
        | Action::TakeEpoch
        | Action::StopGroup
        | Action::StopFleet
        | Action::SeeStops => command(cast, actor, action, group).await,
        Action::ListRobots => cast.administers(actor, "/robots").await,
        Action::SeeCluster => cast.administers(actor, "/cluster").await,
        Action::ReadAudit => cast.administers(actor, "/audit").await,
        Action::QueryRobots => asked(actor.query_robots("", None).await),
        Action::QueryMembers => asked(actor.query_robots("", Some(group)).await),
        Action::MakeEnrolmentToken => {
            asked(actor.make_enrolment_token(NewEnrolment::of("lift-*")).await)
        }
        Action::RevokeRobot => asked(actor.revoke_robot("spare", "").await),
        Action::DeclareCapabilities => asked(actor.announce(CapabilityCard::default()).await),
        Action::AnalyseFleet => asked(actor.watch(WatchFilter::fleet()).await),
    }
}

/// What concerns robots.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others are in `act`")]
async fn command(
    cast: &Cast,
    actor: &Client,
    action: Action,
    group: ConversationId,
) -> Option<ErrorCode> {
    let new = || NewCommand::new(Targets::Group(group), "sweep", COMMAND_TIME);
    match action {
        Action::SendCommand => asked(actor.send_command(new()).await),
        Action::SuperviseCommands => {
            let command = new();
            let key = command.key.clone();
            cast.boss.send_command(command).await.unwrap();
            asked(actor.command_status(&key, AccountId(0), 0).await)
        }
        Action::TakeEpoch => asked(actor.take_epoch(new().key.plan, 0).await),
        Action::StopGroup => stop(&cast.boss, actor, Scope::Group(group)).await,
        Action::StopFleet => stop(&cast.boss, actor, Scope::Fleet).await,
        Action::SeeStops => asked(actor.estops().await),
        other => panic!("{other:?} is none of these"),
    }
}

/// What it stops goes on at once.
async fn stop(boss: &Client, actor: &Client, scope: Scope) -> Option<ErrorCode> {
    let stop = actor.estop(scope, "矩阵");
    let id = stop.id;
    let refused = sent(stop.stored().await);
    if refused.is_none() {
        boss.release(scope, &[id], "").await.unwrap();
    }
    refused
}

/// To amend it takes a message of one's own, which an observer has from when it was a member.
async fn own_message(
    cast: &Cast,
    actor: &Client,
    role: Option<Role>,
) -> (ConversationId, SequenceNumber) {
    let (group, _) = cast.stage(actor, Some(Role::Member)).await;
    let said = actor.send(group, text("原话")).await.unwrap();
    let id = actor.account().id;
    match role {
        Some(Role::Member) => {}
        Some(role) => {
            cast.boss.change_roles(group, &[(id, role)]).await.unwrap();
        }
        None => {
            cast.boss.change_members(group, &[], &[id]).await.unwrap();
        }
    }
    (group, said.sequence)
}

#[tokio::test]
async fn every_cell() {
    let analysts = [("IM_LOGIC__ANALYSIS__ACCOUNTS", "actor")];
    let cluster = Cluster::start_told(tempfile::tempdir().unwrap(), &[], &analysts);
    let cluster = cluster.await.unwrap();
    let cast = Cast::of(&cluster).await;
    let (mut allowed, mut refused) = (0, 0);
    for row in TABLE {
        for (kind, actor) in &cast.actors {
            for role in ROLES.map(Some).into_iter().chain([None]) {
                let stage = if row.action == Action::AmendOwn {
                    own_message(&cast, actor, role).await
                } else {
                    cast.stage(actor, role).await
                };
                let expected = permission::check(row.action, *kind, role).err();
                let told = act(&cast, actor, row.action, stage).await;
                let expected = expected.map(|refusal| refusal.code);
                assert_eq!(told, expected, "{} as {kind:?}, {role:?}", row.words);
                if told.is_none() {
                    allowed += 1;
                } else {
                    refused += 1;
                }
            }
        }
    }
    assert_eq!(allowed + refused, TABLE.len() * 3 * 5);
    assert!(allowed > 100 && refused > 100, "{allowed} {refused}");
    cluster.stop().await.unwrap();
}
