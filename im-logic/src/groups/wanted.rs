//! What a request to make or change a group says, once it makes sense. Pure.

use std::collections::BTreeSet;

use protocol::limits::{GROUP_MEMBERS_MAX, GROUP_NAME_CHARS_MAX};
use protocol::wire::ChangeMembers;
use protocol::{AccountId, Refusal};

use super::too_many;

/// The changes of a request, in the order in which they are made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Who, and whether it joins. Those who go make room for those who come; the caller goes last,
    /// because it has to be a member for the others.
    pub(super) in_order: Vec<(AccountId, bool)>,
}

impl Wanted {
    pub(super) fn parse(request: &ChangeMembers, caller: AccountId) -> Result<Self, Refusal> {
        let set = |ids: &[u64]| ids.iter().copied().map(AccountId).collect::<BTreeSet<_>>();
        let (add, mut remove) = (set(&request.add), set(&request.remove));
        if add.is_empty() && remove.is_empty() {
            return Err(Refusal::bad_request("add, remove: both are empty"));
        }
        if let Some(both) = add.intersection(&remove).next() {
            return Err(Refusal::bad_request(format!(
                "add, remove: {both} is in both"
            )));
        }
        if add.len() > GROUP_MEMBERS_MAX || remove.len() > GROUP_MEMBERS_MAX {
            return Err(too_many());
        }
        let leaves = remove.remove(&caller);
        let mut in_order: Vec<_> = remove.into_iter().map(|account| (account, false)).collect();
        in_order.extend(add.into_iter().map(|account| (account, true)));
        in_order.extend(leaves.then_some((caller, false)));
        Ok(Self { in_order })
    }
}

/// A name that people can read. Its length is in characters, of any script.
pub(super) fn group_name(name: String) -> Result<String, Refusal> {
    let chars = name.chars().count();
    if name.trim().is_empty() {
        return Err(Refusal::bad_request("name: empty"));
    }
    if chars > GROUP_NAME_CHARS_MAX {
        return Err(Refusal::bad_request(format!(
            "name: {chars} characters, and at most {GROUP_NAME_CHARS_MAX} are allowed"
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(Refusal::bad_request("name: has control characters"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ErrorCode;

    fn request(add: &[u64], remove: &[u64]) -> ChangeMembers {
        ChangeMembers {
            add: add.to_vec(),
            remove: remove.to_vec(),
            ..ChangeMembers::default()
        }
    }

    fn wanted(add: &[u64], remove: &[u64]) -> Result<Wanted, Refusal> {
        Wanted::parse(&request(add, remove), AccountId(10))
    }

    #[test]
    fn those_who_go_make_room_and_the_caller_goes_last() {
        let wanted = wanted(&[5, 3, 5], &[10, 20, 4]).unwrap();
        let order = [(4, false), (20, false), (3, true), (5, true), (10, false)];
        assert_eq!(
            wanted.in_order,
            order.map(|(id, joins)| (AccountId(id), joins))
        );
    }

    #[test]
    fn changes_that_make_no_sense_are_refused() {
        let many: Vec<u64> = (1..=GROUP_MEMBERS_MAX as u64 + 1).collect();
        assert_eq!(wanted(&[], &[]).unwrap_err().code, ErrorCode::BadRequest);
        assert_eq!(wanted(&[3], &[3]).unwrap_err().code, ErrorCode::BadRequest);
        assert_eq!(
            wanted(&many, &[]).unwrap_err().code,
            ErrorCode::LimitReached
        );
    }

    #[test]
    fn names_are_counted_in_characters() {
        let ok = |name: &str| group_name(name.into()).is_ok();
        assert!(ok("仓") && ok("A区 巡检 🤖"));
        assert!(ok(&"组".repeat(GROUP_NAME_CHARS_MAX)));
        assert!(!ok(&"组".repeat(GROUP_NAME_CHARS_MAX + 1)));
        assert!(!ok("") && !ok(" \u{3000}") && !ok("a\nb"));
    }
}
