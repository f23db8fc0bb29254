//! Media: who may make, fetch and collect them. Their bytes are the gateways' affair.
//!
//! Any account uploads, within what the fleet allows it; who may read the message that refers to a
//! media may fetch it, by the store's word; what no message refers to is collected by time, or now
//! when an operator says so.

use std::sync::Arc;

use bytes::Bytes;
use protocol::kind::method;
use protocol::media::{self, MediaId};
use protocol::wire::internal::{ListMediaRecords, MediaQuota, MediaRecord, ReadMedia, StoreMedia};
use protocol::wire::{CreateMedia, ListMedia, MediaCreated, MediaOpened, MediaPage, OpenMedia};
use protocol::{ClientMessageId, ErrorCode, Refusal};

use crate::config::MediaConfig;
use crate::directory::Directory;
use crate::permission::{self, Action};
use crate::store::{Caller, Deadline, Store, To};

/// Makes and finds media.
#[derive(Debug)]
pub struct Media {
    directory: Arc<Directory>,
    limits: MediaConfig,
    store: Store,
}

impl Media {
    /// Over these.
    #[must_use]
    pub const fn new(directory: Arc<Directory>, limits: MediaConfig, store: Store) -> Self {
        Self {
            directory,
            limits,
            store,
        }
    }

    /// Makes one, or finds what the same request made. The gateway adds where to.
    ///
    /// # Errors
    /// What makes no sense, what is too long, and that there is no room.
    pub async fn create(
        &self,
        caller: Caller,
        create: CreateMedia,
    ) -> Result<MediaCreated, Refusal> {
        media::check_new(&create)?;
        let most = self.limits.upload_bytes_max;
        if create.bytes > most {
            let why = format!("bytes: a media has at most {most}");
            return Err(Refusal::new(ErrorCode::ContentTooLong, why));
        }
        let request = ClientMessageId::from_slice(&create.client_message_id)?;
        let id = MediaId::of(caller.account, request);
        let question = StoreMedia {
            account_id: caller.account.0,
            create: Some(create),
            quota: Some(MediaQuota {
                account_bytes_max: self.limits.account_bytes_max,
                fleet_bytes_max: self.limits.fleet_bytes_max,
                unfinished_max: self.limits.unfinished_max.into(),
            }),
        };
        let to = To::Key(id.as_bytes());
        let answer =
            self.store
                .ask::<_, MediaRecord>(to, method::STORE_MEDIA, &question, caller.deadline);
        let item = answer.await?.media.unwrap_or_default();
        Ok(MediaCreated {
            reference: id.reference(),
            state: item.state,
            media_id: item.media_id,
            upload: None,
        })
    }

    /// What a message refers to, or one of the caller's own. The gateway adds where from.
    ///
    /// # Errors
    /// That the caller may not read the message, or that there is nothing.
    pub async fn open(&self, caller: Caller, open: OpenMedia) -> Result<MediaOpened, Refusal> {
        let question = ReadMedia {
            account_id: caller.account.0,
            open: Some(open),
        };
        let to = To::Any(&caller.account.0.to_be_bytes());
        let answer =
            self.store
                .ask::<_, MediaRecord>(to, method::READ_MEDIA, &question, caller.deadline);
        Ok(MediaOpened {
            media: answer.await?.media,
            download: None,
        })
    }

    /// The caller's own. The gateway collects, if that is asked for and allowed.
    ///
    /// # Errors
    /// That the caller may not collect.
    pub async fn list(&self, caller: Caller, list: ListMedia) -> Result<MediaPage, Refusal> {
        if list.collect {
            let profile = self.directory.one(caller.account, caller.deadline).await?;
            permission::check(Action::CollectMedia, profile.kind, None)?;
        }
        let question = ListMediaRecords {
            account_id: caller.account.0,
            list: Some(list),
        };
        let to = To::Any(&caller.account.0.to_be_bytes());
        let answer = self.store.ask::<_, MediaPage>(
            to,
            method::LIST_MEDIA_RECORDS,
            &question,
            caller.deadline,
        );
        Ok(MediaPage {
            allowed_bytes: self.limits.account_bytes_max,
            ..answer.await?
        })
    }

    /// What a gateway says of an upload, or asks for to collect: as the store has it.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn pass(
        &self,
        method: u16,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Bytes, Refusal> {
        self.store.pass(To::Any(&[]), method, body, deadline).await
    }
}
