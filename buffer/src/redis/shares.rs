//! Which member of a group reads which partitions.
//!
//! Every member looks who is there and computes the same shares: there is nobody who hands them out. As long as members see
//! each other differently two may want one partition; it goes to whoever owns it, until that one gives it back.

use crate::Partition;

/// The partitions of one of `members`, of so many.
pub(super) fn share(me: &str, members: &[String], partitions: u32) -> Vec<Partition> {
    let mut sorted: Vec<&str> = members.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let Some(place) = sorted.iter().position(|member| *member == me) else { return Vec::new() };
    let numbers = (0..partitions).filter(|number| *number as usize % sorted.len() == place);
    numbers.filter_map(|number| i32::try_from(number).ok().map(Partition)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everything_is_somebodys_and_shares_are_fair() {
        for count in 1..12 {
            let members: Vec<String> = (0..count).map(|n| format!("member-{n}")).collect();
            let shares: Vec<_> = members.iter().map(|me| share(me, &members, 10)).collect();
            let all: BTreeSet<Partition> = shares.iter().flatten().copied().collect();
            assert_eq!((all.len(), shares.iter().map(Vec::len).sum::<usize>()), (10, 10));
            let sizes = || shares.iter().map(Vec::len);
            assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1, "{shares:?}");
        }
        assert_eq!(share("x", &["y".to_owned()], 10), [], "nobody knows it yet");
    }
}
