// The shapes pt-001, lt-001 and st-001 of `floodgate burst` for those who use k6: the same users at the same times, who ask for the same, and
// the same expectations of the answers. What became of the writes only `floodgate burst` judges. Two things differ: nothing is tried again, so that
// a 503 is a failure; and an answer is timed from when its request was sent, and not from when it was due, so that one that waited for those before it
// looks faster than it was. -e SHAPE=lt-001 is another shape, -e SPEED=10 makes it that much faster, -e TIMES=2 that much larger.
import http from 'k6/http';
import { fail } from 'k6';
import exec from 'k6/execution';

// 409 where coupon.refuse_sold_out is on: an answer like any other
http.setResponseCallback(http.expectedStatuses(202, 409));

const URL = __ENV.FLOODGATE_URL || 'http://127.0.0.1:8080';
const SPEED = Number(__ENV.SPEED || 1);
const TIMES = Number(__ENV.TIMES || 1);
// a user asks once in so many seconds
const EVERY_S = 5;

// stages are [seconds, users at its beginning, users at its end]; shares are of coupon requests, of those by somebody who asked before,
// of expectation writes and of likes of one target
const SHAPES = {
  'pt-001': {
    stages: [[30, 1000, 1000], [5, 5000, 5000], [55, 2000, 2000], [60, 500, 500]],
    shares: { coupon: 0.95, again: 0.05 },
    thresholds: { http_req_duration: ['p(95)<200'], http_req_failed: ['rate<0.03'] },
  },
  'lt-001': {
    stages: [[300, 0, 150], [1800, 150, 150]],
    shares: { expectation: 0.6, coupon: 0.3, hot: 0.1 },
    thresholds: { http_req_duration: ['p(95)<300', 'p(99)<500'], http_req_failed: ['rate<0.001'] },
  },
  'st-001': {
    stages: [100, 200, 300, 400, 500].map((users) => [300, users, users]),
    shares: { expectation: 0.6, coupon: 0.3, hot: 0.1 },
    thresholds: { http_req_failed: ['rate==0'] },
  },
};

const name = __ENV.SHAPE || 'pt-001';
const shape = SHAPES[name];
if (!shape) throw new Error(`SHAPE is one of ${Object.keys(SHAPES).join(', ')}`);

const headers = { 'Content-Type': 'application/json' };
if (__ENV.FLOODGATE_KEY) headers.Authorization = `Bearer ${__ENV.FLOODGATE_KEY}`;

// k6 counts in whole requests, so they are told for a minute
const rate = (users) => Math.round((users * TIMES * 60) / EVERY_S);
const seconds = (duration) => `${Math.max(1, Math.round((duration * 1000) / SPEED))}ms`;
const most = Math.max(...shape.stages.flatMap(([, from, to]) => [from, to]));

export const options = {
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
  scenarios: {
    shape: {
      executor: 'ramping-arrival-rate',
      timeUnit: '1m',
      startRate: rate(shape.stages[0][1]),
      // a stage of no time is a step
      stages: shape.stages.flatMap(([duration, from, to]) => [
        { target: rate(from), duration: '0s' },
        { target: rate(to), duration: seconds(duration) },
      ]),
      // a tenth of a second's requests may wait for their answers before any is left out
      preAllocatedVUs: Math.ceil(most * TIMES / EVERY_S / 10) + 20,
      maxVUs: Math.ceil(most * TIMES / EVERY_S) + 100,
    },
  },
  thresholds: { ...shape.thresholds, dropped_iterations: ['count==0'] },
};

export function setup() {
  const run = `k6-${Date.now()}`;
  const expected = shape.stages.reduce((sum, [duration, from, to]) => sum + (duration * (from + to)) / 2, 0) / EVERY_S;
  const users = (expected * TIMES * (shape.shares.coupon || 0)) / SPEED;
  const terms = JSON.stringify({ couponId: run, stock: Math.max(1, Math.round(users / 5)) });
  const params = { headers, responseCallback: http.expectedStatuses(201) };
  const answer = http.post(`${URL}/api/v6/coupons`, terms, params);
  if (answer.status !== 201) fail(`no coupon: ${answer.status} ${answer.body}`);
  return run;
}

export default function (run) {
  const number = exec.scenario.iterationInTest;
  const params = { headers: { ...headers, 'Idempotency-Key': `${run}-${number}` } };
  let left = Math.random();
  const is = (share) => (left -= share || 0) < 0;
  const { coupon, again, expectation } = shape.shares;
  if (is(coupon)) return issue(run, number, params);
  // somebody before asks again under another key
  if (is(again)) return issue(run, Math.floor(Math.random() * number), params);
  if (is(expectation)) {
    const costs = { blackCubeCost: '1', redCubeCost: '2', additionalCubeCost: '3', starforceCost: '4' };
    const body = { characterId: number + 1, presetNo: 1, totalExpectedCost: '10.00', ...costs, calculatedAt: new Date().toISOString() };
    return http.post(`${URL}/api/v6/expectations`, JSON.stringify(body), params);
  }
  const body = JSON.stringify({ occurredAt: new Date().toISOString() });
  return http.put(`${URL}/api/v6/characters/hot-${run}/likes/${run}-${number}`, body, params);
}

function issue(run, user, params) {
  const body = JSON.stringify({ userId: `${run}-${user}` });
  // the address of each coupon is not a figure of its own
  return http.post(`${URL}/api/v6/coupons/${run}/issues`, body, params);
}
