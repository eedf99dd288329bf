//! Bodies of routes that take one thing. The first byte says which: `e`xpectation, coupon `i`ssue, `l`ike, or a new `c`oupon.

use floodgate_producer::fuzzing::new_coupon;
use floodgate_schemas::{
    CouponId, CouponIssue, ExpectationWrite, Fields, Like, LikeAction, LikerAccountId, Mixed, TargetOcid,
};
use serde_json::json;

use super::same::{accept, is_the_same_again};

pub fn run(bytes: &[u8]) {
    let Some((route, body)) = bytes.split_first() else { return };
    match route {
        b'e' => expectation(body),
        b'i' => issue(body),
        b'l' => like(body),
        b'c' => coupon(body),
        _ => {}
    }
}

fn expectation(body: &[u8]) {
    let read = ExpectationWrite::from_json(body, &accept(None));
    if let Ok(event) = read {
        is_the_same_again(&Mixed::Expectation(event));
    }
}

fn issue(body: &[u8]) {
    let read = Fields::parse(&CouponIssue::BODY, body).and_then(|fields| fields.get(&CouponIssue::USER_ID));
    if let Ok(user) = read {
        let coupon = CouponId::try_from("summer".to_owned()).expect("a coupon");
        is_the_same_again(&Mixed::Coupon(CouponIssue::new(coupon, user, &accept(None))));
    }
}

fn like(body: &[u8]) {
    let read = Fields::parse(&Like::BODY, body).and_then(|fields| fields.get(&Like::OCCURRED_AT));
    let Ok(Ok(occurred_at)) = read.map(|said| said.map(|said| said.until(accept(None).latest)).transpose())
    else {
        return;
    };
    let target = TargetOcid::try_from("star".to_owned()).expect("a target");
    let liker = LikerAccountId::try_from("ann".to_owned()).expect("a liker");
    let event = Like::new(target, liker, LikeAction::Like, occurred_at, &accept(None));
    is_the_same_again(&Mixed::Like(event.expect("nothing is wrong with it")));
}

fn coupon(body: &[u8]) {
    let Ok(coupon) = new_coupon(body) else { return };
    let time = |time: Option<floodgate_schemas::Timestamp>| time.map(|time| time.to_string());
    let again = json!({
        "couponId": coupon.coupon_id.as_str(), "stock": coupon.stock.get(),
        "opensAt": time(coupon.opens_at), "closesAt": time(coupon.closes_at),
    });
    assert_eq!(new_coupon(again.to_string().as_bytes()).as_ref(), Ok(&coupon));
    if let (Some(opens), Some(closes)) = (coupon.opens_at, coupon.closes_at) {
        assert!(opens < closes);
    }
}
