//! How clients stand under the limits, and what they are told of it (draft-ietf-httpapi-ratelimit-headers-10).
//!
//! Whoever is refused is told one time to wait, after which the whole of its request fits: the longest that any limit takes. So it
//! is told how it stands under each. Whoever is let in is told of its own limit alone, which is the one it can keep to.

use std::time::Duration;

use axum::http::HeaderValue;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// A client.
    Client,
    /// All of this instance.
    Total,
}

/// How a client stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whose limit this is.
    pub(crate) policy: Policy,
    /// Events it may still send at once.
    pub(crate) remaining: u32,
    /// When it has its whole burst again, in seconds from now; where it is refused, at most when it may ask again.
    pub(crate) reset_s: u32,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// It may be when so many seconds have passed, which this limit takes.
    Now { policy: Policy, standings: [Option<Standing>; 2], retry_after_s: u32 },
    /// It never can be: so many events are the most that fit.
    Ever { policy: Policy, burst: u32 },
}

impl Exceeded {
    /// Of a request that fits under these limits after so long.
    pub(super) fn for_so_long(limits: [Option<(Standing, Duration)>; 2]) -> Self {
        let longest = limits.iter().flatten().max_by_key(|(_, wait)| *wait);
        let (policy, wait) =
            longest.map_or((Policy::Client, Duration::ZERO), |(of, wait)| (of.policy, *wait));
        let retry_after_s = seconds(wait).max(1);
        let standings = limits.map(|limit| {
            let (standing, _) = limit?;
            Some(Standing { reset_s: standing.reset_s.min(retry_after_s), ..standing })
        });
        Self::Now { policy, standings, retry_after_s }
    }
}

impl Standing {
    /// The value of `RateLimit`. Every answer has one, so it is put together without the machinery of `format!`.
    pub(crate) fn told(self) -> HeaderValue {
        value(self.text())
    }

    /// The same of several.
    pub(crate) fn all_told(standings: &[Option<Self>]) -> HeaderValue {
        value(standings.iter().flatten().map(|standing| standing.text()).collect::<Vec<_>>().join(", "))
    }

    fn text(self) -> String {
        let (mut remaining, mut reset_s) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (remaining, reset_s) = (remaining.format(self.remaining), reset_s.format(self.reset_s));
        ["\"", self.policy.name(), "\";r=", remaining, ";t=", reset_s].concat()
    }
}

impl Policy {
    /// Its name in answers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Total => "total",
        }
    }
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("?"))
}

/// Whole seconds after which this time has passed.
pub(super) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Standing = Standing { policy: Policy::Client, remaining: 7, reset_s: 9 };
    const TOTAL: Standing = Standing { policy: Policy::Total, remaining: 0, reset_s: 2 };

    #[test]
    fn no_time_is_over_before_it_is() {
        for (nanos, told) in [(0, 0), (1, 1), (999_999_999, 1), (1_000_000_000, 1), (1_000_000_001, 2)] {
            assert_eq!(seconds(Duration::from_nanos(nanos)), told, "{nanos}");
        }
        assert_eq!(seconds(Duration::MAX), u32::MAX);
    }

    /// Nobody is told to come back before both limits let it in, nor that something is there again after that.
    #[test]
    fn the_longest_wait_is_told() {
        let ms = Duration::from_millis;
        for (client, total, policy, retry_after_s) in [
            (ms(0), ms(1500), Policy::Total, 2),
            (ms(4001), ms(1500), Policy::Client, 5),
            (ms(0), ms(0), Policy::Total, 1),
        ] {
            let told = Exceeded::for_so_long([Some((CLIENT, client)), Some((TOTAL, total))]);
            let standings =
                [CLIENT, TOTAL].map(|of| Some(Standing { reset_s: of.reset_s.min(retry_after_s), ..of }));
            assert_eq!(told, Exceeded::Now { policy, standings, retry_after_s });
        }
        assert_eq!(Standing::all_told(&[Some(CLIENT), Some(TOTAL)]), "\"client\";r=7;t=9, \"total\";r=0;t=2");
        assert_eq!(Standing::all_told(&[None, Some(TOTAL)]), TOTAL.told());
    }
}
