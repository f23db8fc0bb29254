//! Members who come and go: the usher changes some groups now and then, by seed.

use std::sync::Arc;
use std::time::Duration;

use client_sdk::{AccountId, Client};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::layout::Layout;
use super::{Stage, dice};
use crate::record::Event;

/// The shortest and the longest time between two changes.
const GAP_MS: (u64, u64) = (300, 2_500);

/// Somebody who comes and goes.
struct Seat {
    conversation: u32,
    account: AccountId,
    /// As far as the usher knows: the log decides.
    inside: bool,
}

pub(super) struct Churn {
    stage: Arc<Stage>,
    random: SmallRng,
    seats: Vec<Seat>,
}

impl Churn {
    pub(super) fn new(
        seed: u64,
        layout: &Layout,
        accounts: &[AccountId],
        stage: &Arc<Stage>,
    ) -> Self {
        let places = (0..).zip(&layout.places);
        let seats = places.flat_map(|(conversation, place)| {
            place.churning.iter().map(move |client| Seat {
                conversation,
                account: accounts[*client as usize],
                inside: place.members.contains(client),
            })
        });
        Self {
            stage: Arc::clone(stage),
            random: dice(seed, 3),
            seats: seats.collect(),
        }
    }

    /// Until the load is over.
    pub(super) async fn run(
        mut self,
        usher: Client,
        over: CancellationToken,
        busy: mpsc::Sender<()>,
    ) {
        while !self.seats.is_empty() {
            let gap = self.random.random_range(GAP_MS.0..=GAP_MS.1);
            tokio::select! {
                () = over.cancelled() => break,
                () = tokio::time::sleep(Duration::from_millis(gap)) => {}
            }
            let at = self.random.random_range(0..self.seats.len());
            if let Some(seat) = self.seats.get_mut(at) {
                change(seat, &usher, &self.stage).await;
            }
        }
        drop(busy);
    }
}

async fn change(seat: &mut Seat, usher: &Client, stage: &Stage) {
    let joins = !seat.inside;
    let who = [seat.account];
    let (add, remove): (&[_], &[_]) = if joins { (&who, &[]) } else { (&[], &who) };
    let conversation = stage.conversations[seat.conversation as usize];
    let at_us = stage.recorder.now_us();
    let changed = usher.change_members(conversation, add, remove).await;
    stage.recorder.record(&Event::Change {
        at_us,
        conversation: seat.conversation,
        account: seat.account.0,
        joins,
        outcome: match &changed {
            Ok(sequence) => format!("{}", sequence.0),
            Err(error) => error.to_string(),
        },
    });
    // Without an answer it is asked for again some time; what is so already changes nothing.
    if changed.is_ok() {
        seat.inside = joins;
    }
}
