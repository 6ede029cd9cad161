package redisfleet

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/grpc-sessionauth/sessionauth/fleet"
)

const (
	// maxRead is how many entries are read at once.
	maxRead = 1000
	// What n replicas send, n replicas read: one by one, that is n² reads in the time of a
	// pulse. So each rests after a read, for perReplica times n; for less than minRest not at all.
	perReplica = 200 * time.Microsecond
	minRest    = 2 * time.Millisecond
	maxRest    = 50 * time.Millisecond
)

var errOrder = errors.New("redisfleet: entries are not in order")

// read tells the followers what is on the stream, until the Bus is closed.
func (b *Bus) read() {
	select {
	case <-b.begun:
	case <-b.stop:
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-b.stop
		cancel()
	}()
	r := reader{bus: b}
	r.me = b.id
	for !r.begin(ctx) {
		b.stats.errors.Add(1)
		if !b.pause(b.lag / (4 * pulses)) {
			return
		}
	}
	for {
		if err := r.step(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			b.stats.errors.Add(1)
			if !b.pause(min(b.lag/(4*pulses), 50*time.Millisecond)) {
				return
			}
		}
	}
}

// reader is where the stream has been read.
type reader struct {
	publishers

	bus *Bus
	at  fleet.Position // of what was read last
}

// begin has the followers know from where on they hear everything: from the first entry that is
// there, which is older than anything that is still in use, or all there ever was.
func (r *reader) begin(ctx context.Context) bool {
	b := r.bus
	client, err := b.connect()
	if err != nil {
		return false
	}
	bounded, cancel := context.WithTimeout(ctx, b.lag)
	defer cancel()
	first, err := client.Do(bounded, client.B().Xrange().Key(b.config.key("bus")).Start("-").End("+").Count(1).Build()).AsXRange()
	if err != nil || len(first) == 0 {
		return false
	}
	at, err := parseID(first[0].ID)
	if err != nil {
		return false
	}
	r.backlog = true
	b.mu.Lock()
	defer b.mu.Unlock()
	at.Epoch = b.epoch
	r.lose(before(at))
	return true
}

// lose tells the followers that something may have been lost before a position. b.mu is held.
func (r *reader) lose(from fleet.Position) {
	r.at = from
	r.bus.at = from
	r.bus.stats.lost.Add(1)
	for _, f := range r.bus.followers {
		f.Lost(from)
	}
}

// step reads what is new, and waits for it for the time of a pulse.
func (r *reader) step(ctx context.Context) error {
	b := r.bus
	if err := r.checkOrder(ctx); err != nil {
		return err
	}
	client, err := b.connect()
	if err != nil {
		return err
	}
	block := b.lag / pulses
	bounded, cancel := context.WithTimeout(ctx, block+max(b.lag/2, minLag))
	defer cancel()
	key := b.config.key("bus")
	read, err := client.Do(bounded, client.B().Xread().Count(maxRead).Block(block.Milliseconds()).Streams().Key(key).Id(formatID(r.at)).Build()).AsXRead()
	if rueidis.IsRedisNil(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.take(read[key]); err != nil {
		return err
	}
	if rest := min(time.Duration(r.heard)*perReplica, maxRest, b.lag/(4*pulses)); rest >= minRest && len(read[key]) < maxRead {
		b.pause(rest)
	}
	return nil
}

// take tells the followers of entries.
func (r *reader) take(entries []rueidis.XRangeEntry) error {
	b := r.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, entry := range entries {
		at, err := parseID(entry.ID)
		if err != nil {
			return err
		}
		at.Epoch = r.at.Epoch
		if !later(at, r.at) { // which Redis does not do
			r.lose(r.at)
			return errOrder
		}
		r.at, b.at = at, at
		r.hear(entry.FieldValues[field], at)
	}
	return nil
}

// checkOrder looks whether what is added still comes after what has been read. After a restart from
// an old copy, or with a clock that was set back, it does not: then that is another order.
func (r *reader) checkOrder(ctx context.Context) error {
	b := r.bus
	b.mu.Lock()
	added := b.added
	behind := later(r.at, added) && time.Since(b.back) >= b.lag
	b.mu.Unlock()
	if !behind {
		return nil
	}
	client, err := b.connect()
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, b.lag)
	defer cancel()
	last, err := client.Do(bounded, client.B().Xrevrange().Key(b.config.key("bus")).End("+").Start("-").Count(1).Build()).AsXRange()
	if err != nil {
		return err
	}
	if len(last) > 0 {
		if at, err := parseID(last[0].ID); err != nil || !later(r.at, at) {
			return err
		}
	}
	if err := client.Do(bounded, client.B().Set().Key(b.config.key("epoch")).Value(newEpoch()).Build()).Error(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	added.Epoch = 0 // which nobody has: a pulse will say which it is
	r.lose(before(added))
	return nil
}

// hear tells the followers of one entry. b.mu is held.
func (r *reader) hear(data string, at fleet.Position) {
	b := r.bus
	e, err := open(b.keys, []byte(data))
	if err != nil {
		b.stats.dropped.Add(1)
		return
	}
	own := e.publisher == b.id
	switch r.publishers.hear(&e, at.Number, b.lag) {
	case stale:
		b.stats.stale.Add(1)
		if own && e.kind == message { // sent again; everybody knows of it, or has forgotten everything
			b.cameBack(e.number)
		}
		return
	case gap:
		r.lose(at)
	case next:
	}
	switch e.kind {
	case message:
		var f fleet.Forgotten
		if err := f.UnmarshalBinary(e.payload); err != nil { // of another version: it may be about anything
			b.stats.dropped.Add(1)
			r.lose(at)
			return
		}
		b.stats.received.Add(1)
		for _, follower := range b.followers {
			follower.Apply(f, at)
		}
		if own {
			b.cameBack(e.number)
		}
	case pulse:
		if own {
			r.pulseCameBack(&e, at)
		}
	case bye:
	}
}

// cameBack notes that a message of this Bus has. b.mu is held.
func (b *Bus) cameBack(number uint64) {
	for _, m := range b.out {
		if m.number == number && m.back.IsZero() {
			m.back = time.Now()
			close(m.heard)
			return
		}
	}
}

// pulseCameBack tells the followers that everything which was accepted before the pulse was sent, or
// the last pulse of another, has been read; unless that is another order now, or a publisher has fallen silent.
func (r *reader) pulseCameBack(e *envelope, at fleet.Position) {
	b := r.bus
	sent, ok := b.sent[e.pulse]
	delete(b.sent, e.pulse)
	if !ok || len(e.payload) != pulseLength {
		return
	}
	if epoch := binary.BigEndian.Uint64(e.payload); epoch != at.Epoch {
		at.Epoch = epoch
		r.lose(at)
	}
	by, missing := r.pulsed(sent, at.Number, b.lag, b.config.Retention)
	if missing {
		r.lose(at)
	}
	r.backlog = false
	b.back, b.count = sent, r.heard
	if by.IsZero() { // somebody is not heard yet
		return
	}
	b.heard = by
	for _, f := range b.followers {
		f.Heard(at, by)
	}
}
