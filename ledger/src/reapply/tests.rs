use super::*;

/// A bad row is found whichever it is, the others are applied once each and in order, and what is slow is halved.
#[tokio::test]
async fn a_bad_row_is_singled_out_and_all_others_are_applied_in_order() {
    for bad in 0..7 {
        let mut applied = Vec::new();
        let outcomes = in_parts(&[0, 1, 2, 3, 4, 5, 6], async |events: &[i32]| {
            if events.len() > 4 {
                return Err(ApplyError::TooSlow("slow".to_owned()));
            }
            if events.contains(&bad) {
                return Err(ApplyError::BadRow("bad".to_owned()));
            }
            applied.extend(events.iter().copied());
            Ok(vec![ApplyOutcome::Applied; events.len()])
        });
        let outcomes = outcomes.await.unwrap();
        assert_eq!(applied, (0..7).filter(|event| *event != bad).collect::<Vec<_>>());
        for (event, outcome) in (0..7).zip(outcomes) {
            assert_eq!(outcome, if event == bad { Err("bad".to_owned()) } else { Ok(ApplyOutcome::Applied) });
        }
    }
    // one event that takes too long is nobody's bad row
    let slow = in_parts(&[0], async |_: &[i32]| Err(ApplyError::TooSlow("slow".to_owned()))).await;
    assert_eq!(slow, Err(ApplyError::TooSlow("slow".to_owned())));
    let away = in_parts(&[0, 1], async |_: &[i32]| Err(ApplyError::Retry("away".to_owned()))).await;
    assert_eq!(away, Err(ApplyError::Retry("away".to_owned())));
}

#[tokio::test]
async fn a_database_that_comes_back_is_waited_for_and_all_else_is_not() {
    let tried = async |fails: u32, error: ApplyError| {
        let mut tries = 0;
        let ended = patiently(|| {
            tries += 1;
            let ended = if tries > fails { Ok(tries) } else { Err(error.clone()) };
            async { ended }
        });
        (ended.await, tries)
    };
    let retry = || ApplyError::Retry("away".to_owned());
    assert_eq!(tried(1, retry()).await, (Ok(2), 2));
    let bad = ApplyError::BadRow("bad".to_owned());
    assert_eq!(tried(1, bad.clone()).await, (Err(bad), 1));
}
