//! What is read of credentials on one host, on the connections that only read.

use bytes::Bytes;
use protocol::wire::internal::EnrolmentToken;

use super::lease::Lease;
use super::readers::{HostReaders, READ_TIMEOUT};
use super::{credential_reads, within};
use crate::credential::{CredentialReaders, Password, Standing};
use crate::engine::EngineError;

impl CredentialReaders for HostReaders {
    async fn enrolment_token(&self, digest: &[u8]) -> Result<Option<EnrolmentToken>, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let found = credential_reads::token(&mut lease, digest).await?;
            lease.give_back();
            Ok(found)
        })
        .await
    }

    async fn standing(&self, account: u64, serial: &[u8]) -> Result<Standing, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let found = credential_reads::standing(&mut lease, account, serial).await?;
            lease.give_back();
            Ok(found)
        })
        .await
    }

    async fn password(&self, fleet: &str, name: &str) -> Result<Option<Password>, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let found = credential_reads::password(&mut lease, fleet, name).await?;
            lease.give_back();
            Ok(found)
        })
        .await
    }

    async fn revocations(
        &self,
        after: &[u8],
        now_ms: u64,
    ) -> Result<(u64, Vec<Bytes>), EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let found = credential_reads::revocations(&mut lease, after, now_ms).await?;
            lease.give_back();
            Ok(found)
        })
        .await
    }
}
