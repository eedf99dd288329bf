// A coupon burst: so many users ask within one second, each once and under a key of its own, and wait to be told. As many as there are
// pieces must be told ISSUED, and nobody more, nobody is left without a decision, and the coupon's `issued` is what was told.
// -e USERS=2000 -e STOCK=50 makes it another burst (a user takes about 0.3 MiB here), and -e P99_MS=200 sets a goal for the answers.
import http from 'k6/http';
import { check, fail, sleep } from 'k6';
import { Counter } from 'k6/metrics';
import exec from 'k6/execution';

const URL = __ENV.FLOODGATE_URL || 'http://127.0.0.1:8080';
const USERS = Number(__ENV.USERS || 500);
const STOCK = Number(__ENV.STOCK || 100);
const PIECES = Math.min(STOCK, USERS);
const TRIES = 10;

const headers = { 'Content-Type': 'application/json' };
if (__ENV.FLOODGATE_KEY) headers.Authorization = `Bearer ${__ENV.FLOODGATE_KEY}`;

const issued = new Counter('coupons_issued');
const soldOut = new Counter('coupons_sold_out');

export const options = {
  scenarios: {
    // exactly as many, each once: constant-arrival-rate starts about as many as it says
    burst: { executor: 'per-vu-iterations', vus: USERS, iterations: 1, maxDuration: '120s' },
  },
  thresholds: {
    checks: ['rate==1'],
    coupons_issued: [`count==${PIECES}`],
    // everybody came, and was told
    iterations: [`count==${USERS}`],
    // how long answers to a request for the coupon may take, if it matters here
    ...(__ENV.P99_MS && { 'http_req_duration{name:issue}': [`p(99)<${__ENV.P99_MS}`] }),
  },
};

// Asks again what another try can help, after as long as the answer says. 0: there was no answer.
function insist(ask) {
  let answer = ask();
  for (let tries = 1; tries < TRIES && [0, 429, 502, 503, 504].includes(answer.status); tries++) {
    sleep(Number(answer.headers['Retry-After'] || 0.5) * (1 + Math.random() / 4));
    answer = ask();
  }
  return answer;
}

export function setup() {
  const couponId = `burst-${Date.now()}`;
  const terms = JSON.stringify({ couponId, stock: STOCK });
  const answer = insist(() => http.post(`${URL}/api/v6/coupons`, terms, { headers }));
  if (answer.status !== 201 && answer.status !== 200) fail(`no coupon: ${answer.status} ${answer.body}`);
  return couponId;
}

export default function (couponId) {
  // each at its own moment of that second, however long the answers of those before it take: that is what a burst is
  const user = exec.vu.idInTest;
  sleep(user / USERS);

  const body = JSON.stringify({ userId: `user-${user}` });
  // one key for all tries
  const params = { headers: { ...headers, 'Idempotency-Key': `${couponId}-${user}` }, tags: { name: 'issue' } };
  const answer = insist(() => http.post(`${URL}/api/v6/coupons/${couponId}/issues`, body, params));
  // 409 where coupon.refuse_sold_out is on
  check(answer, { 'accepted, or sold out at the door': ({ status }) => status === 202 || status === 409 });
  if (answer.status === 409) soldOut.add(1);
  if (answer.status !== 202) return;

  let status = 'PENDING';
  for (let tries = 0; tries < TRIES && status === 'PENDING'; tries++) {
    const waiting = { headers, tags: { name: 'decision' } };
    const decision = insist(() => http.get(`${URL}${answer.headers.Location}?waitMs=10000`, waiting));
    if (decision.status !== 200) break;
    status = decision.json('status');
  }
  check(status, { decided: (status) => status === 'ISSUED' || status === 'SOLD_OUT' });
  if (status === 'ISSUED') issued.add(1);
  if (status === 'SOLD_OUT') soldOut.add(1);
}

export function teardown(couponId) {
  const coupon = insist(() => http.get(`${URL}/api/v6/coupons/${couponId}`, { headers })).json();
  check(coupon, {
    'never more than the stock': ({ issued }) => issued <= STOCK,
    'not less either': ({ issued }) => issued === PIECES,
  });
  console.log(`${coupon.issued} of ${coupon.stock} pieces were given to ${USERS} users`);
}
