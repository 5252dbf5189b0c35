//! The least that a fair queue in Redis does for a delivery: it is queued for its destination, leased with a
//! token, and gone once it is settled. No events, no lists, no limits, no circuits, and nothing is kept
//! of what was delivered. Three scripts, each of which does many deliveries at a time.

use std::time::Instant;

use redis::aio::MultiplexedConnection;
use redis::{Script, ScriptInvocation};
use ringback::event::{CallbackId, DeliveryId};

use crate::load::{BODY, Load, Measured};
use crate::redis_server::RedisServer;

/// Deliveries that one script does, as the store's scripts do them.
const BATCH: usize = 64;

const ENQUEUE: &str = "
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    for at = 1, #ARGV, 3 do
      local id, destination = ARGV[at], ARGV[at + 1]
      if redis.call('HSETNX', 'meta', id, '0 0 ' .. destination) == 1 then
        redis.call('HSET', 'body', id, ARGV[at + 2])
        redis.call('ZADD', 'queue:' .. destination, now, id)
        redis.call('ZADD', 'schedule', 'NX', now, destination)
      end
    end";

const CLAIM: &str = "
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local claims = {}
    for _, destination in ipairs(redis.call('ZRANGEBYSCORE', 'schedule', '-inf', now, 'LIMIT', 0, ARGV[1])) do
      local id = redis.call('ZPOPMIN', 'queue:' .. destination)[1]
      local token = redis.call('INCR', 'token')
      redis.call('HSET', 'meta', id, '1 ' .. token .. ' ' .. destination)
      redis.call('ZADD', 'leases', now + 60000000, id)
      redis.call('HINCRBY', 'in flight', destination, 1)
      claims[#claims + 1] = { id, token, destination, redis.call('HGET', 'body', id) }
      if redis.call('EXISTS', 'queue:' .. destination) == 1 then
        redis.call('ZADD', 'schedule', now, destination)
      else
        redis.call('ZREM', 'schedule', destination)
      end
    end
    return claims";

const SETTLE: &str = "
    local settled = 0
    for at = 1, #ARGV, 3 do
      local id, destination = ARGV[at], ARGV[at + 2]
      if redis.call('HGET', 'meta', id) == '1 ' .. ARGV[at + 1] .. ' ' .. destination then
        redis.call('ZREM', 'leases', id)
        redis.call('HDEL', 'meta', id)
        redis.call('HDEL', 'body', id)
        redis.call('HINCRBY', 'in flight', destination, -1)
        settled = settled + 1
      end
    end
    return settled";

/// A delivery, its token, its destination and its body.
type Granted = (Vec<u8>, u64, Vec<u8>, Vec<u8>);

/// Queues deliveries, claims and settles them, one script after the other.
pub(crate) async fn run(server: &RedisServer, load: &Load) -> Measured {
    let client = redis::Client::open(server.url()).expect("it is a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("it answers");
    let [enqueue, claim, settle] = [ENQUEUE, CLAIM, SETTLE].map(Script::new);
    let destinations: Vec<[u8; 16]> = (0..load.destinations).map(|_| CallbackId::new().to_bytes()).collect();
    let mut in_turn = destinations.iter().cycle();
    let body = vec![b'd'; BODY];
    let (started, mut done, mut latencies) = (Instant::now(), 0, Vec::new());
    while started.elapsed() < load.time {
        let began = Instant::now();
        let mut queued = enqueue.prepare_invoke();
        for destination in in_turn.by_ref().take(BATCH) {
            queued.arg(&DeliveryId::new().to_bytes()).arg(destination).arg(&body);
        }
        ask::<()>(&queued, &mut connection).await;
        let claims: Vec<Granted> = ask(&claim.arg(BATCH), &mut connection).await;
        let mut settled = settle.prepare_invoke();
        for (id, token, destination, _) in &claims {
            settled.arg(id.as_slice()).arg(*token).arg(destination.as_slice());
        }
        let count: usize = ask(&settled, &mut connection).await;
        assert_eq!(count, BATCH);
        done += count as u64;
        latencies.push(began.elapsed());
    }
    latencies.sort_unstable();
    Measured { time: started.elapsed(), done, latencies }
}

async fn ask<T: redis::FromRedisValue>(
    script: &ScriptInvocation<'_>,
    connection: &mut MultiplexedConnection,
) -> T {
    script.invoke_async(connection).await.expect("it answers")
}
