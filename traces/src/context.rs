//! Which span something belongs to, as it crosses processes: header `traceparent` of W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>). Its companion `tracestate`, which is its senders' own, is not kept.

use std::fmt;

/// The header's name, in requests and on records.
pub const TRACEPARENT: &str = "traceparent";

/// A span. Neither id is 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanContext {
    trace_id: u128,
    span_id: u64,
}

/// What a `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The sender's span.
    pub context: SpanContext,
    /// Whether whoever sent it samples the trace.
    pub is_sampled: bool,
}

impl Parent {
    /// Reads a header. `None` where it is none: a trace begins anew then, as the specification has it.
    ///
    /// Headers of later versions are read as far as this one goes.
    pub fn parse(header: &[u8]) -> Option<Self> {
        const LENGTH: usize = 55;
        let (known, rest) = header.split_at_checked(LENGTH)?;
        let [version_1, version_2, b'-', fields @ ..] = known else { return None };
        let version = hex(&[*version_1, *version_2])?;
        match (version, rest) {
            (0xff, _) => return None,
            (0, [_, ..]) => return None,
            (_, [] | [b'-', ..]) => {}
            _ => return None,
        }
        let (trace_id, rest) = fields.split_at_checked(32)?;
        let [b'-', rest @ ..] = rest else { return None };
        let (span_id, rest) = rest.split_at_checked(16)?;
        let [b'-', flags @ ..] = rest else { return None };
        let context = SpanContext::new(hex(trace_id)?, u64::try_from(hex(span_id)?).ok()?)?;
        Some(Self { context, is_sampled: hex(flags)? & 1 == 1 })
    }
}

/// A number of lower-case hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

impl SpanContext {
    /// A span. `None` where an id is 0, which stands for none.
    pub fn new(trace_id: u128, span_id: u64) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id })
    }

    /// Another span of the same trace.
    pub fn sibling(self, span_id: u64) -> Option<Self> {
        Self::new(self.trace_id, span_id)
    }

    /// Names the trace.
    pub const fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// Names the span within the trace.
    pub const fn span_id(self) -> u64 {
        self.span_id
    }
}

/// As in the header of a trace that is sampled.
impl fmt::Display for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace_id, self.span_id)
    }
}

impl fmt::Debug for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    proptest! {
        #[test]
        fn what_is_written_is_read(trace_id in 1_u128.., span_id in 1_u64..) {
            let context = SpanContext::new(trace_id, span_id).unwrap();
            prop_assert_eq!(Parent::parse(context.to_string().as_bytes()), Some(Parent { context, is_sampled: true }));
        }

        #[test]
        fn anything_can_come(header in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Parent::parse(&header);
        }

        #[test]
        fn one_wrong_character_is_at_most_another_context(place in 0_usize..55, byte: u8) {
            let mut header = EXAMPLE.as_bytes().to_vec();
            header[place] = byte;
            if let Some(Parent { context, .. }) = Parent::parse(&header) {
                // the version and other flags are not kept
                let written = context.to_string();
                prop_assert_eq!(&written.as_bytes()[3..53], &header[3..53]);
            }
        }
    }

    #[test]
    fn headers_are_read_as_the_specification_has_it() {
        let sampled = |header: &str| Parent::parse(header.as_bytes()).map(|parent| parent.is_sampled);
        assert_eq!(sampled(EXAMPLE), Some(true));
        let with = |place: usize, text: &str| {
            let mut header = EXAMPLE.to_owned();
            header.replace_range(place..place + text.len(), text);
            header
        };
        // flags of which this version knows one
        assert_eq!([sampled(&with(53, "00")), sampled(&with(53, "02"))], [Some(false); 2]);
        assert_eq!([sampled(&with(53, "03")), sampled(&with(53, "ff"))], [Some(true); 2]);
        // a later version may say more, behind a dash
        assert_eq!(sampled(&format!("{}-more", with(0, "01"))), Some(true));
        assert_eq!(sampled(&with(0, "cc")), Some(true));
        for none in [
            String::new(),
            format!("{EXAMPLE}-more"),
            format!("{}more", with(0, "01")),
            with(0, "ff"),
            with(3, "00000000000000000000000000000000"),
            with(36, "0000000000000000"),
            with(3, "0AF7"),
            with(35, "_"),
            EXAMPLE[..54].to_owned(),
        ] {
            assert_eq!(sampled(&none), None, "{none}");
        }
    }
}
