// Package redisfleet joins the replicas of a service over Redis, or Valkey: with a [Bus], for
// interceptor.WithBus, they forget together.
//
// # Security
//
// Redis is not trusted. What is on the bus is authenticated under a key derived from
// [Config.Secrets], and holds digests. Who can write to Redis without the secret can forge
// nothing; a replay does nothing; deleting something is noticed within Lag, since each
// publisher numbers what it sends and says several times in that time how far it is. Who can
// write to Redis can make replicas forget and verify again, nothing else.
//
// # Failures
//
// No call is allowed or refused because of Redis, or waits for it. A replica that
// cannot hear the bus trusts nothing older than its Lag; see interceptor.WithLag.
package redisfleet
