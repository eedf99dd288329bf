//! Who asks, as far as it is known, and what it may.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use floodgate_schemas::{EventType, Mixed};

use super::limits::Client;
use super::standing::{Policy, Standing};
use crate::holders::Holder;
use crate::problem::Problem;
use crate::scope::{Access, Scope, Scopes};

/// Who somebody has shown to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The id of a key, the subject of a token.
    pub(crate) subject: Arc<str>,
    /// Whose limit it is under.
    pub(crate) client: Client,
    pub(crate) scopes: Scopes,
}

/// Why somebody's word on who it is is not believed. A sentence part for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Untrusted(pub(crate) &'static str);

/// Who sent a request that was let in.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) client: Client,
    /// `None` where nobody is asked who it is.
    identity: Option<Arc<Identity>>,
    /// Whether it may write for itself alone.
    is_bound: bool,
    /// How it stands, if it is limited: what it was told last. Packed, as a batch is charged on another thread.
    standing: AtomicU64,
    /// Events that the request has cost its client, when its body was read.
    paid: AtomicU32,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Of the nearest hop, which may be a proxy.
    pub(crate) address: IpAddr,
    /// What is its own, where it is the client.
    pub(crate) holder: Arc<Holder>,
}

/// Nothing is known of how it stands.
const UNLIMITED: u64 = u64::MAX;

impl Caller {
    pub(crate) fn new(client: Client, identity: Option<Arc<Identity>>, is_bound: bool) -> Self {
        Self { client, identity, is_bound, standing: AtomicU64::new(UNLIMITED), paid: AtomicU32::new(1) }
    }

    pub(crate) fn paid(&self) -> u32 {
        self.paid.load(Ordering::Relaxed)
    }

    pub(crate) fn pays(&self, events: u32) {
        self.paid.store(events, Ordering::Relaxed);
    }

    /// # Errors
    /// 403 that names the scope.
    pub(crate) fn may(&self, scope: Scope) -> Result<(), Problem> {
        match &self.identity {
            Some(identity) if !identity.scopes.has(scope) => Err(Problem::scope_missing(scope)),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// 403 where `user`, which stands in `field`, is another than the caller, and it may write for itself alone.
    fn may_write_for(&self, user: &str, field: &'static str) -> Result<(), Problem> {
        match &self.identity {
            Some(identity) if self.is_bound && *identity.subject != *user => {
                Err(Problem::not_yourself(field))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn stands(&self, Standing { policy, remaining, reset_s }: Standing) {
        // the highest bit is free: nobody waits for 68 years
        let policy = u64::from(policy == Policy::Total) << 31;
        let packed = u64::from(remaining) << 32 | policy | u64::from(reset_s & (u32::MAX >> 1));
        self.standing.store(packed, Ordering::Relaxed);
    }

    pub(crate) fn standing(&self) -> Option<Standing> {
        let packed = self.standing.load(Ordering::Relaxed);
        let policy = if packed & (1 << 31) == 0 { Policy::Client } else { Policy::Total };
        let (remaining, reset_s) = ((packed >> 32) as u32, packed as u32 & (u32::MAX >> 1));
        (packed != UNLIMITED).then_some(Standing { policy, remaining, reset_s })
    }
}

tokio::task_local! {
    /// Who sent the request that a task answers. As an extension of the request it would take an allocation for each.
    static ADMITTED: Admitted;
}

/// What routes know of who asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Admitted {
    /// Nothing where everybody may do everything.
    pub(crate) caller: Option<Arc<Caller>>,
    /// What the client holds of what all share.
    pub(crate) holder: Arc<Holder>,
}

impl Admitted {
    /// Answers a request of this client's.
    pub(crate) fn answering<F: Future>(self, answer: F) -> impl Future<Output = F::Output> {
        ADMITTED.scope(self, answer)
    }

    /// Who sent the request that is being answered.
    ///
    /// # Errors
    /// Nobody looked: who was not looked at is not let in.
    pub(crate) fn who_asks() -> Result<Self, Problem> {
        ADMITTED.try_with(Self::clone).map_err(|_| Problem::internal("nobody let this request in"))
    }

    /// # Errors
    /// 403 where the caller has no scope that lets it use such an operation.
    pub(crate) fn may_use(&self, access: Access) -> Result<(), Problem> {
        let Some(caller) = &self.caller else { return Ok(()) };
        match access {
            Access::Open => Ok(()),
            Access::Needs(scope) => caller.may(scope),
            Access::NeedsByEvent => {
                let first = caller.may(Scope::of(EventType::ALL[0]));
                EventType::ALL.iter().fold(first, |may, of| may.or_else(|_| caller.may(Scope::of(*of))))
            }
        }
    }

    /// # Errors
    /// 403 where the caller may not write events of this type.
    fn may_write(&self, of: EventType) -> Result<(), Problem> {
        self.caller.as_ref().map_or(Ok(()), |caller| caller.may(Scope::of(of)))
    }

    /// # Errors
    /// 403 where the caller may not write such an event, or not for this user.
    pub(crate) fn may_write_event(&self, event: &Mixed) -> Result<(), Problem> {
        self.may_write(event.event_type())?;
        match event {
            Mixed::Expectation(_) => Ok(()),
            Mixed::Coupon(issue) => self.may_write_for(issue.user_id.as_str(), "userId"),
            Mixed::Like(like) => self.may_write_for(like.liker_account_id.as_str(), "likerAccountId"),
        }
    }

    /// # Errors
    /// 403 where the caller writes for itself alone and this user, named in `field`, is somebody else.
    pub(crate) fn may_write_for(&self, user: &str, field: &'static str) -> Result<(), Problem> {
        self.caller.as_ref().map_or(Ok(()), |caller| caller.may_write_for(user, field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_what_was_told_last() {
        let caller = Caller::new(Client::Site([127, 0, 0, 1].into()), None, false);
        assert_eq!(caller.standing(), None);
        for (policy, remaining, reset_s) in
            [(Policy::Client, 0, 0), (Policy::Total, u32::MAX, 7), (Policy::Total, 5, u32::MAX >> 1)]
        {
            let standing = Standing { policy, remaining, reset_s };
            caller.stands(standing);
            assert_eq!(caller.standing(), Some(standing));
        }
    }

    #[test]
    fn who_is_bound_writes_for_itself() {
        let scopes = [Scope::LikeWrite].into_iter().collect();
        let client = Client::Subject("ann".into());
        let identity = Arc::new(Identity { subject: "ann".into(), client: client.clone(), scopes });
        let told = |caller: Caller, user| {
            Admitted { caller: Some(Arc::new(caller)), ..Admitted::default() }
                .may_write_for(user, "userId")
                .map_err(|problem| problem.name())
        };
        let bound = || Caller::new(client.clone(), Some(Arc::clone(&identity)), true);
        assert_eq!(told(bound(), "ann"), Ok(()));
        for other in ["bob", "Ann", "ann ", ""] {
            assert_eq!(told(bound(), other), Err("forbidden"));
        }
        assert_eq!(told(Caller::new(client.clone(), Some(Arc::clone(&identity)), false), "bob"), Ok(()));
        assert_eq!(bound().may(Scope::LikeWrite).map_err(|problem| problem.name()), Ok(()));
        assert_eq!(bound().may(Scope::Read).map_err(|problem| problem.name()), Err("forbidden"));
        assert_eq!(
            Admitted::default().may_write(EventType::Coupon).map_err(|problem| problem.name()),
            Ok(())
        );
    }
}
