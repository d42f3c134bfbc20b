//! Whose login it is, and how it is named on the way through a browser.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sid_types::{KeyId, Owner, Scope, TenantId, UserId};
use uuid::Uuid;

use super::PREFIX;
use crate::auth::house_right;

/// Whose login, for which toolset.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) tenant: TenantId,
    /// `None`: the tenant's.
    pub(crate) user: Option<UserId>,
    pub(crate) toolset: String,
}

impl Place {
    pub(super) fn owner(&self) -> Owner {
        self.user.map_or(Owner::Tenant, |user| Owner::User { user })
    }

    /// The tenant's: what is kept is looked up by owner.
    pub(crate) fn scope(&self) -> Scope {
        house_right().enter(self.tenant, KeyId::from_uuid(Uuid::nil()))
    }

    pub(super) fn kept(&self) -> String {
        format!("{PREFIX}{}", self.toolset)
    }

    pub(super) fn pending(&self) -> String {
        format!("{PREFIX}{}/pending", self.toolset)
    }
}

/// Whose login it is, and a nonce that nobody can guess: what was kept tells whether it is that one.
pub(super) fn state_of(place: &Place, nonce: &[u8; 32]) -> String {
    let user = place.user.map_or_else(Uuid::nil, |user| user.uuid());
    let parts = [place.tenant.uuid().as_bytes(), user.as_bytes(), &nonce[..], place.toolset.as_bytes()].concat();
    URL_SAFE_NO_PAD.encode(parts)
}

pub(super) fn place_of(state: &str) -> Option<(Place, [u8; 32])> {
    let parts = URL_SAFE_NO_PAD.decode(state).ok().filter(|parts| (65..=128).contains(&parts.len()))?;
    let id = |at: usize| Uuid::from_slice(&parts[at..at + 16]).ok();
    let user = id(16)?;
    let toolset = std::str::from_utf8(&parts[64..]).ok()?;
    let is_name = toolset.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let place =
        Place { tenant: TenantId::from_uuid(id(0)?), user: (!user.is_nil()).then(|| UserId::from_uuid(user)), toolset: toolset.to_owned() };
    is_name.then_some((place, parts[32..64].try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_whose_it_is_and_garbage_says_nothing() {
        for user in [None, Some(UserId::new())] {
            let place = Place { tenant: TenantId::new(), user, toolset: "my-notes_2".into() };
            let (read, nonce) = place_of(&state_of(&place, &[7; 32])).expect("a place");
            assert_eq!((read.tenant, read.user, read.toolset, nonce), (place.tenant, user, place.toolset, [7; 32]));
        }
        for bad in ["", "x", "AAAA", &"A".repeat(4_000), &URL_SAFE_NO_PAD.encode([&[0; 64][..], b"../x"].concat())] {
            assert!(place_of(bad).is_none(), "{bad}");
        }
    }
}
