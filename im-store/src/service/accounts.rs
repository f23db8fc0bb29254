//! Accounts: methods 105 to 107 of `internal.proto`.

use bytes::Bytes;
use protocol::wire::internal;
use protocol::{AccountId, ErrorCode, Refusal};
use service_kit::rpc;

use super::{Service, credentials, failed};
use crate::credential::{self, Standing};
use crate::engine::{Chore, Done, Readers};

impl<R: Readers> Service<R> {
    pub(super) async fn ensure_account(
        &self,
        request: internal::EnsureAccount,
    ) -> Result<Bytes, Refusal> {
        let kind = request.kind();
        let known = self
            .readers
            .account_of_kind(&request.fleet, &request.name, kind)
            .await
            .map_err(failed)?;
        if let Some(account) = known {
            let account = account?;
            credentials::check(&self.readers, &request, &account).await?;
            return Ok(rpc::encode(&account));
        }
        if request.enrolled_only {
            // Who is not there has not enrolled.
            credential::check_standing(Standing::NotEnrolled, true)?;
        }
        if request.proposed_account_id == 0 {
            let message = format!("there is no account `{}`", request.name);
            return Err(Refusal::new(ErrorCode::NoSuchAccount, message));
        }
        let chore = Chore::EnsureAccount {
            fleet: request.fleet,
            kind,
            name: request.name,
            proposed: AccountId(request.proposed_account_id),
        };
        let Done::Account(account) = self.writer.chore(chore).await? else {
            let why = "an account was made, and no account came";
            return Err(Refusal::internal(why));
        };
        Ok(rpc::encode(&account))
    }

    pub(super) async fn set_capabilities(
        &self,
        request: internal::SetCapabilities,
    ) -> Result<Bytes, Refusal> {
        let chore = Chore::SetCapabilities {
            account: AccountId(request.account_id),
            card: request.capabilities.unwrap_or_default(),
        };
        self.writer.chore(chore).await.map(|_| Bytes::new())
    }

    pub(super) async fn look_up_accounts(
        &self,
        request: internal::LookUpAccounts,
    ) -> Result<Bytes, Refusal> {
        let accounts = self
            .readers
            .accounts(&request.fleet, &request.names, &request.account_ids)
            .await
            .map_err(failed)?;
        Ok(rpc::encode(&internal::AccountList { accounts }))
    }
}
