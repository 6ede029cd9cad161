// Package redisfleet joins the replicas of a service over Redis, or Valkey: a [Bus] by which
// they forget together, for interceptor.WithBus, and a [Store] in which they share what one
// of them has verified, for interceptor.WithSharedCache. Each works without the other.
//
// # Security
//
// Redis is not trusted. What is on the bus is authenticated under a key derived from
// [Config.Secrets], and holds digests. Who can write to Redis without the secret can forge
// nothing; a replay does nothing; deleting something is noticed within Lag, since each
// publisher numbers what it sends and says several times in that time how far it is. What
// is in the store is sealed under a key derived from the secret and the credential: without
// the token it can neither be read nor forged, by those who know the secret either, and what
// is old is not believed. Who can write to Redis can make replicas forget and verify again,
// nothing else.
//
// # Failures
//
// No call is allowed or refused because of Redis, or waits for it for long. A replica that
// cannot hear the bus trusts nothing older than its Lag; see interceptor.WithLag.
package redisfleet
