//! The floor on which simulated robots are: it lets time pass in [`crate::world`] and tells whoever
//! waits for a robot's work how far it is. No network.

use std::sync::Arc;
use std::time::Duration;

use client_sdk::content::Content;
use client_sdk::protocol::wire;
use client_sdk::{ActionContext, ActionError};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::world::{Fault, Happening, Model, Order, WORLD_SCHEMA, World};

/// How long a robot takes from one cell to the next.
const TICK: Duration = Duration::from_millis(50);

/// The floor, shared by the robots on it. Clones are the same.
#[derive(Debug, Clone)]
pub struct Floor(Arc<Mutex<Ground>>);

#[derive(Debug)]
struct Ground {
    world: World,
    /// What each robot does at the moment.
    doing: Vec<Option<Doing>>,
}

/// The ends that the floor holds of a robot's action.
#[derive(Debug)]
struct Doing {
    progress: watch::Sender<u8>,
    ended: oneshot::Sender<Result<Value, Fault>>,
}

impl Floor {
    /// A floor with these robots.
    #[must_use]
    pub fn new(seed: u64, crew: &[(String, Model)]) -> Self {
        Self(Arc::new(Mutex::new(Ground {
            world: World::new(seed, crew),
            doing: crew.iter().map(|_| None).collect(),
        })))
    }

    /// Looks at it as it is.
    pub fn look<T>(&self, at: impl FnOnce(&World) -> T) -> T {
        at(&self.0.lock().world)
    }

    /// What a group is told of it.
    #[must_use]
    pub fn data(&self) -> Content {
        let description = self.look(World::description);
        Content::Data(wire::Data {
            schema: WORLD_SCHEMA.into(),
            payload: description.to_string().into_bytes().into(),
        })
    }

    /// Lets time pass, for ever.
    pub(crate) async fn live(self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tick();
        }
    }

    fn tick(&self) {
        let Ground { world, doing } = &mut *self.0.lock();
        for (robot, happening) in world.tick() {
            let ended = match happening {
                Happening::Progress(percent) => {
                    if let Some(doing) = &doing[robot] {
                        doing.progress.send_replace(percent);
                    }
                    continue;
                }
                Happening::Finished(result) => Ok(result),
                Happening::Failed(fault) => Err(fault),
            };
            if let Some(doing) = doing[robot].take() {
                // Whoever asked for it may have been cancelled in this moment.
                drop(doing.ended.send(ended));
            }
        }
    }

    /// Lets a robot do something, to its end or until it is cancelled.
    pub(crate) async fn carry_out(
        &self,
        robot: usize,
        order: Order,
        context: &ActionContext,
    ) -> Result<Value, ActionError> {
        let (progress, mut reached) = watch::channel(0);
        let (ended, mut end) = oneshot::channel();
        {
            let Ground { world, doing } = &mut *self.0.lock();
            world.begin(robot, order).map_err(as_error)?;
            doing[robot] = Some(Doing { progress, ended });
        }
        let _given_up = GivenUp(self, robot);
        loop {
            tokio::select! {
                biased;
                ended = &mut end => {
                    let ended = ended.map_err(|_| "the simulation has ended")?;
                    return ended.map_err(as_error);
                }
                () = context.until_cancelled() => {
                    return Err(ActionError::Cancelled("stopped where it was".into()));
                }
                Ok(()) = reached.changed() => {
                    context.progress((*reached.borrow_and_update()).into());
                }
            }
        }
    }
}

/// Stops the robot when its action is no longer waited for.
struct GivenUp<'a>(&'a Floor, usize);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        let Ground { world, doing } = &mut *self.0.0.lock();
        if doing[self.1].take().is_some() {
            world.cancel(self.1);
        }
    }
}

/// What makes no sense is rejected; what may go better next time has failed.
fn as_error(fault: Fault) -> ActionError {
    let text = fault.to_string();
    match fault {
        Fault::Unable | Fault::Unknown(_) | Fault::Ambiguous(_) => ActionError::Rejected(text),
        Fault::Busy
        | Fault::TooHeavy(_)
        | Fault::Gone(_)
        | Fault::NoWay(_)
        | Fault::BatteryEmpty
        | Fault::GripperSlipped(_) => ActionError::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    use client_sdk::StepState;
    use client_sdk::testing::{self, Trial};
    use serde_json::json;

    use super::*;

    const CARRIER: usize = 0;

    fn floor(seed: u64) -> Floor {
        Floor::new(seed, &[("carrier-1".into(), Model::Carrier)])
    }

    /// Runs the order as an action and lets time pass as fast as it can.
    async fn trial(floor: &Floor, order: Order) -> Trial {
        let ticking = floor.clone();
        let time = tokio::spawn(async move {
            loop {
                ticking.tick();
                tokio::task::yield_now().await;
            }
        });
        let floor = floor.clone();
        let handler = move |_: Value, context: ActionContext| {
            let (floor, order) = (floor.clone(), order.clone());
            async move { floor.carry_out(CARRIER, order, &context).await }
        };
        let trial = testing::run_action(handler, json!({})).await;
        time.abort();
        trial
    }

    fn carry(object: &str, to: &str) -> Order {
        Order::Carry {
            object: object.into(),
            to: to.into(),
        }
    }

    #[tokio::test]
    async fn a_robot_walks_tells_how_far_it_is_and_returns_what_it_did() {
        let floor = floor(0);
        let trial = trial(&floor, carry("box-1", "storage")).await;
        assert_eq!(trial.state, StepState::Finished, "{}", trial.reason);
        assert_eq!(
            trial.result,
            Some(json!({ "object": "box-1", "at": "storage" }))
        );
        assert!(trial.progress.len() > 5 && trial.progress.is_sorted());
        let at = floor.look(|world| world.place_of(&world.objects()[0]));
        assert_eq!(at, Some("storage"));
    }

    #[tokio::test]
    async fn nonsense_is_rejected_and_what_cannot_be_done_yet_has_failed() {
        let floor = floor(0);
        let unknown = trial(&floor, carry("moon", "storage")).await;
        assert_eq!(unknown.state, StepState::Rejected);
        let unable = trial(
            &floor,
            Order::Inspect {
                area: "corridor".into(),
            },
        )
        .await;
        assert_eq!(unable.state, StepState::Rejected);
        let heavy = trial(&floor, carry("pallet-1", "storage")).await;
        assert_eq!(heavy.state, StepState::Failed);
        assert!(heavy.reason.contains("heavy"), "{}", heavy.reason);
    }

    #[tokio::test]
    async fn some_seeds_let_a_gripper_slip_once_and_trying_again_helps() {
        for seed in 1..=32 {
            let floor = floor(seed);
            let mut slips = 0;
            for object in ["box-1", "box-2", "box-3"] {
                let mut tried = trial(&floor, carry(object, "storage")).await;
                if tried.state == StepState::Failed {
                    assert!(tried.reason.contains("slipped"), "{}", tried.reason);
                    slips += 1;
                    tried = trial(&floor, carry(object, "storage")).await;
                }
                assert_eq!(tried.state, StepState::Finished, "{}", tried.reason);
            }
            if slips == 1 {
                return;
            }
            assert_eq!(slips, 0);
        }
        panic!("no seed of 32 fails");
    }

    #[tokio::test]
    async fn an_action_that_is_given_up_leaves_the_robot_free() {
        let floor = floor(0);
        let acting = floor.clone();
        let handler = move |_: Value, context: ActionContext| {
            let floor = acting.clone();
            async move {
                floor
                    .carry_out(CARRIER, carry("box-1", "storage"), &context)
                    .await
            }
        };
        // Time stands still, so that it can only expire.
        let limit = Duration::from_millis(1);
        let late = testing::run_action_within(handler, json!({}), limit).await;
        assert_eq!(late.state, StepState::Expired);
        let again = trial(&floor, carry("box-1", "storage")).await;
        assert_eq!(again.state, StepState::Finished, "{}", again.reason);
    }
}
