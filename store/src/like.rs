//! How far like counters move.

/// One row of `likes` that really changed.
pub(crate) struct Change<'a> {
    pub(crate) target: &'a str,
    /// The state before; `false` where there was no row.
    pub(crate) was_liked: bool,
    pub(crate) is_liked: bool,
}

/// By how much the counter of each target moves: sorted by target, none twice, none that stays. The changes
/// come sorted by target.
pub(crate) fn movements<'a>(changes: impl IntoIterator<Item = Change<'a>>) -> Vec<(&'a str, i64)> {
    let mut movements: Vec<(&str, i64)> = Vec::new();
    for change in changes {
        let by = i64::from(change.is_liked) - i64::from(change.was_liked);
        match movements.last_mut() {
            Some((target, sum)) if *target == change.target => *sum += by,
            _ => movements.push((change.target, by)),
        }
    }
    movements.retain(|(_, by)| *by != 0);
    movements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_move_by_real_changes_only() {
        let change = |target, was_liked, is_liked| Change { target, was_liked, is_liked };
        let changes = [
            change("a", false, true),
            change("a", false, true),
            change("a", true, false),
            change("b", false, false),
            change("c", true, false),
            change("c", false, true),
            change("d", true, false),
        ];
        assert_eq!(movements(changes), [("a", 1), ("d", -1)]);
    }
}
