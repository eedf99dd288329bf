//! What a request passes: who is let in, its route, and what becomes of errors.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use tower_service::Service;

use crate::admission::Peer;
use crate::ingress::Ingress;
use crate::problem::Problem;

/// Has a request from `peer` answered, by its route if it is let in.
pub(crate) async fn answer(
    ingress: &Ingress,
    router: &Router,
    peer: &Peer,
    request: Request,
) -> Result<Response, Infallible> {
    let admitted = match ingress.admission.admit(request.uri().path(), request.headers(), peer).await {
        Ok(admitted) => admitted,
        Err(problem) => {
            ingress.admission.slow_down(&problem).await;
            let mut response = Response::default();
            told(ingress, problem, &mut response);
            return Ok(response);
        }
    };
    let mut response = admitted.clone().answering(router.clone().call(request)).await?;
    // a batch is counted by its route
    if let Some(problem) = response.extensions().get::<Problem>() {
        ingress.admission.slow_down(problem).await;
    }
    ingress.admission.tell(&admitted, &mut response);
    tell(ingress, &mut response);
    Ok(response)
}

/// Tells a client of the problem that a response carries, and operators of what lies behind it.
pub(crate) fn tell(ingress: &Ingress, response: &mut Response) {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        told(ingress, problem, response);
    }
}

fn told(ingress: &Ingress, mut problem: Problem, response: &mut Response) {
    ingress.http.problems.with_label_values(&[problem.name()]).inc();
    ingress.instances.tell(&mut problem);
    problem.answer(response);
}
