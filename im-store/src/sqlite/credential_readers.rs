//! What is read of credentials, on the connections that only read.

use bytes::Bytes;
use protocol::wire::internal::EnrolmentToken;

use super::credential_reads;
use super::readers::SqliteReaders;
use crate::credential::{CredentialReaders, Password, Standing};
use crate::engine::EngineError;

impl CredentialReaders for SqliteReaders {
    async fn enrolment_token(&self, digest: &[u8]) -> Result<Option<EnrolmentToken>, EngineError> {
        credential_reads::token(&mut *self.pool.acquire().await?, digest).await
    }

    async fn standing(&self, account: u64, serial: &[u8]) -> Result<Standing, EngineError> {
        let mut connection = self.pool.acquire().await?;
        credential_reads::standing(&mut connection, account, serial).await
    }

    async fn password(&self, fleet: &str, name: &str) -> Result<Option<Password>, EngineError> {
        credential_reads::password(&mut *self.pool.acquire().await?, fleet, name).await
    }

    async fn revocations(
        &self,
        after: &[u8],
        now_ms: u64,
    ) -> Result<(u64, Vec<Bytes>), EngineError> {
        let mut connection = self.pool.acquire().await?;
        credential_reads::revocations(&mut connection, after, now_ms).await
    }
}
