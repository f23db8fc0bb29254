//! `swarm chat` and `swarm history`: a person in a group.
//!
//! On a terminal until `/quit`. Otherwise lines are read to their end, and the chat ends when all
//! that was sent is acknowledged and has been printed.

mod line;
mod terminal;

use std::time::Duration;

use client_sdk::content::{self, Content};
use client_sdk::{
    Account, Client, ConversationId, Event, Events, Outgoing, Receipt, SendError, SequenceNumber,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::access::{self, Access};
use crate::render::{self, Names};
use crate::screen;
use crate::state::State;

use line::{HELP, Line};
use terminal::Terminal;

/// How long what was sent may take to come back once it is acknowledged.
const ECHO_TIMEOUT: Duration = Duration::from_secs(10);

/// Entries that a person is shown on coming in.
const ENTRIES_ON_ARRIVAL: usize = 10;

/// `swarm chat`.
pub async fn run(state: &State, operator: &str, group: &str, create: bool) -> anyhow::Result<()> {
    let access = Access::open(state)?;
    let (client, events) = access.operator(operator).await?;
    let conversation = match access::group(&client, group).await? {
        Some(conversation) => conversation,
        None if create => access::new_group(&client, group, &[]).await?,
        None => return Err(access::no_such_group(&client, group).await),
    };
    let mut chat = Chat::enter(client, conversation).await?;
    let ended = chat.talk(events).await;
    if let Err(error) = &ended {
        chat.terminal.leave(&error.to_string()).await;
    }
    chat.client.close().await;
    ended
}

/// `swarm history`.
pub async fn history(state: &State, operator: &str, group: &str) -> anyhow::Result<()> {
    let access = Access::open(state)?;
    let (client, _events) = access.operator(operator).await?;
    let Some(conversation) = access::group(&client, group).await? else {
        return Err(access::no_such_group(&client, group).await);
    };
    let mut names = Names::of(&client.members(conversation).await?);
    let mut after = SequenceNumber::ZERO;
    loop {
        let page = client.pull(conversation, after, 0).await?;
        for entry in &page.entries {
            screen::say(render::entry(entry, &mut names));
        }
        let last = page.entries.last().map(|entry| entry.sequence);
        let reached = last.unwrap_or(page.trimmed_up_to).max(after);
        if reached == after || reached >= page.head {
            break;
        }
        after = reached;
    }
    client.close().await;
    Ok(())
}

struct Chat {
    client: Client,
    conversation: ConversationId,
    names: Names,
    terminal: Terminal,
    /// Printed up to here.
    printed: SequenceNumber,
    sends: JoinSet<Result<Receipt, SendError>>,
    /// The newest of what was sent.
    acked: SequenceNumber,
    /// Messages that are not stored.
    failed: usize,
    /// The connection is lost at the moment.
    is_cut_off: bool,
}

impl Chat {
    async fn enter(client: Client, conversation: ConversationId) -> anyhow::Result<Self> {
        let names = Names::of(&client.members(conversation).await?);
        let terminal = Terminal::open()?;
        let mut chat = Self {
            client,
            conversation,
            names,
            terminal,
            printed: SequenceNumber::ZERO,
            sends: JoinSet::new(),
            acked: SequenceNumber::ZERO,
            failed: 0,
            is_cut_off: false,
        };
        if chat.terminal.is_interactive {
            let name = &chat.client.account().name;
            let greeting = format!("{name} is in the group; /help says what can be typed");
            chat.terminal.say(&greeting);
            chat.show_history(ENTRIES_ON_ARRIVAL).await?;
        }
        Ok(chat)
    }

    async fn talk(&mut self, mut events: Events) -> anyhow::Result<()> {
        let mut deadline = None;
        loop {
            if deadline.is_some() && self.sends.is_empty() && self.printed >= self.acked {
                break;
            }
            tokio::select! {
                line = self.terminal.next_line(), if deadline.is_none() => {
                    let is_last = match line.map(|line| line::read(&line)) {
                        None | Some(Line::Quit) => true,
                        Some(line) => {
                            self.act(line).await;
                            false
                        }
                    };
                    if is_last {
                        // Sends have their own time limit.
                        deadline = Some(Instant::now() + ECHO_TIMEOUT);
                    }
                }
                Some(sent) = self.sends.join_next() => {
                    self.sent(sent?);
                    deadline = deadline.map(|_| Instant::now() + ECHO_TIMEOUT);
                }
                event = events.next() => match event {
                    Some(event) => self.hear(&event)?,
                    None => anyhow::bail!("the connection has ended"),
                },
                () = until(deadline), if self.sends.is_empty() => break,
            }
        }
        anyhow::ensure!(self.failed == 0, "{} messages are not stored", self.failed);
        Ok(())
    }

    async fn act(&mut self, line: Line) {
        match line {
            Line::Nothing | Line::Quit => {}
            Line::Text(text) => self.send(content::text(text)),
            Line::Instruction(words) => self.send(content::instruction(words)),
            Line::Members => match self.client.members(self.conversation).await {
                Ok(members) => {
                    for member in &members {
                        self.terminal.say(&member_line(member));
                    }
                }
                Err(error) => self.terminal.say(&error.to_string()),
            },
            Line::History(entries) => {
                if let Err(error) = self.show_history(entries).await {
                    self.terminal.say(&error.to_string());
                }
            }
            Line::Help => self.terminal.say(HELP),
            Line::Wrong(why) => self.terminal.say(&why),
        }
    }

    fn send(&mut self, content: Content) {
        let handle = self
            .client
            .send_nowait(Outgoing::new(self.conversation, content));
        self.sends.spawn(handle);
    }

    fn sent(&mut self, sent: Result<Receipt, SendError>) {
        match sent {
            Ok(receipt) => self.acked = self.acked.max(receipt.sequence),
            Err(error) => {
                self.failed += 1;
                self.terminal.say(&format!("not sent: {error}"));
            }
        }
    }

    fn hear(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::Message(message)
                if message.conversation == self.conversation && message.sequence > self.printed =>
            {
                self.printed = message.sequence;
                let line = render::message(message, &mut self.names);
                self.terminal.say(&line);
            }
            Event::Left { conversation } if *conversation == self.conversation => {
                anyhow::bail!("no longer a member of the group");
            }
            Event::Disconnected { reason } => {
                self.is_cut_off = true;
                self.terminal.say(&format!("(connection lost: {reason})"));
            }
            Event::EmergencyStop(stop) => {
                let line = format!("(EMERGENCY STOP {}: {})", stop.id, stop.reason);
                self.terminal.say(&line);
            }
            Event::EmergencyReleased(stop) => {
                let line = format!("(the emergency stop {} is released)", stop.id);
                self.terminal.say(&line);
            }
            Event::Closed { reason } => anyhow::bail!("the connection has ended: {reason:?}"),
            Event::Connected if std::mem::take(&mut self.is_cut_off) => {
                self.terminal.say("(connected again)");
            }
            Event::Message(_)
            | Event::Ephemeral(_)
            | Event::Joined { .. }
            | Event::Left { .. }
            | Event::Trimmed { .. }
            | Event::Parted { .. }
            | Event::Marked { .. }
            | Event::Connected => {}
        }
        Ok(())
    }

    /// The last entries. What comes later comes as events.
    async fn show_history(&mut self, entries: usize) -> anyhow::Result<()> {
        let newest = self.client.pull(self.conversation, SequenceNumber::ZERO, 1);
        let head = newest.await?.head;
        let count = u64::try_from(entries).unwrap_or(u64::MAX);
        let after = SequenceNumber(head.0.saturating_sub(count));
        let last = self.client.history(self.conversation, after).await?;
        for entry in &last {
            let line = render::entry(entry, &mut self.names);
            self.terminal.say(&line);
            self.printed = self.printed.max(entry.sequence);
        }
        Ok(())
    }
}

fn member_line(member: &Account) -> String {
    let actions = member.capabilities.as_ref().map(|card| {
        let names: Vec<_> = card.actions.iter().map(|action| &*action.name).collect();
        format!(" {}: {}", card.model, names.join(", "))
    });
    let kind = format!("{:?}", member.kind).to_lowercase();
    let line = format!("{} ({kind}){}", member.name, actions.unwrap_or_default());
    render::on_one_screen(&line)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
