//! Drops what is no longer kept, a little at a time: entries beyond retention, ids beyond their
//! horizon.
//!
//! Each step is one short transaction between two batches of messages. Several stores on one
//! database may do it at once: a step that another was faster with changes nothing. Not here: which
//! entries have to go ([`crate::retention`]).

use std::time::Duration;

use protocol::Refusal;
use protocol::limits::COMMAND_DEADLINE_MS_MAX;
use service_kit::drain::Drain;
use tokio::time::{MissedTickBehavior, interval};

use crate::command::{CommandChore, CommandDone};
use crate::engine::{Chore, Done, EngineError, Readers};
use crate::events;
use crate::retention::{Log, Retention, TRIM_ENTRIES_MAX};
use crate::shard::{ID_AHEAD_MS_MAX, ID_HORIZON_MS};
use crate::writer::Writer;

/// Logs that are looked up together.
const LOGS_TOGETHER_MAX: u32 = 1024;

/// Ids that go in one transaction: some milliseconds of work, which messages wait for.
const IDS_TOGETHER_MAX: u32 = 1024;

/// Records of the audit that go in one transaction.
const AUDIT_TOGETHER_MAX: u32 = 256;

/// Sweeps until the drain, each this long after the one before began.
pub async fn run(
    retention: Retention,
    every: Duration,
    readers: impl Readers,
    writer: Writer,
    unix_ms: impl Fn() -> u64,
    drain: Drain,
) {
    let upkeep = Upkeep {
        retention,
        readers,
        writer,
        unix_ms,
    };
    let sweeping = async {
        let mut due = interval(every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if let Err(refusal) = upkeep.sweep().await {
                events::sweep_ended_early(&refusal);
            }
        }
    };
    tokio::select! {
        () = sweeping => {}
        () = drain.draining() => {}
    }
}

struct Upkeep<R, C> {
    retention: Retention,
    readers: R,
    writer: Writer,
    unix_ms: C,
}

impl<R: Readers, C: Fn() -> u64> Upkeep<R, C> {
    async fn sweep(&self) -> Result<(), Refusal> {
        self.forget_ids().await?;
        self.forget_commands().await?;
        self.forget_audit().await?;
        if !self.retention.is_on() {
            return Ok(());
        }
        let mut after = Vec::new();
        loop {
            let logs = self.readers.logs(&after, LOGS_TOGETHER_MAX).await;
            let logs = logs.map_err(failed)?;
            let Some(last) = logs.last() else {
                return Ok(());
            };
            after = last.conversation.to_bytes().to_vec();
            for log in logs {
                self.trim(log).await?;
            }
        }
    }

    async fn trim(&self, mut log: Log) -> Result<(), Refusal> {
        while self.retention.concerns(&log) {
            let (conversation, from) = (log.conversation, log.trimmed);
            let oldest = self
                .readers
                .oldest(conversation, from, TRIM_ENTRIES_MAX)
                .await
                .map_err(failed)?;
            let Some(cut) = self.retention.cut(&log, &oldest, (self.unix_ms)()) else {
                break;
            };
            let chore = Chore::Trim {
                conversation,
                from,
                up_to: cut.trimmed,
            };
            self.writer.chore(chore).await?;
            events::trimmed(conversation, cut.trimmed, cut.trimmed.0 - from.0);
            log = cut;
        }
        Ok(())
    }

    /// A command goes when its plan's id is beyond the horizon, so that it is never stored anew.
    async fn forget_commands(&self) -> Result<(), Refusal> {
        let kept_ms = ID_HORIZON_MS + COMMAND_DEADLINE_MS_MAX + ID_AHEAD_MS_MAX;
        let chore = Chore::Command(CommandChore::Forget {
            before_ms: (self.unix_ms)().saturating_sub(kept_ms),
        });
        while let Done::Command(CommandDone::Forgotten(rows)) =
            self.writer.chore(chore.clone()).await?
            && rows > 0
        {
            events::commands_forgotten(rows);
        }
        Ok(())
    }

    async fn forget_audit(&self) -> Result<(), Refusal> {
        let Some(age_ms) = self.retention.audit_age_ms else {
            return Ok(());
        };
        let chore = Chore::ForgetAudit {
            before_ms: (self.unix_ms)().saturating_sub(age_ms),
            limit: AUDIT_TOGETHER_MAX,
        };
        while let Done::Forgotten(records) = self.writer.chore(chore.clone()).await?
            && records > 0
        {
            events::audit_forgotten(records);
        }
        Ok(())
    }

    /// An id beyond the horizon is refused by its own time. It is kept for a day more, so that a store
    /// whose clock is behind finds it.
    async fn forget_ids(&self) -> Result<(), Refusal> {
        let kept_ms = ID_HORIZON_MS + ID_AHEAD_MS_MAX;
        let chore = Chore::ForgetIds {
            made_before_ms: (self.unix_ms)().saturating_sub(kept_ms),
            limit: IDS_TOGETHER_MAX,
        };
        while let Done::Forgotten(ids) = self.writer.chore(chore.clone()).await?
            && ids > 0
        {
            events::ids_forgotten(ids);
        }
        Ok(())
    }
}

fn failed(error: EngineError) -> Refusal {
    events::read_failed(&error);
    Refusal::unavailable("the database failed")
}
