package redisfleet

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/grpc-sessionauth/sessionauth/fleet"
)

const (
	maxBatch = 512
	// resendFor is how long what came back is kept, to be sent again after an error: a failover
	// may have dropped it, and others may not have read it.
	resendFor = 30 * time.Second
	field     = "e"
	// maxAhead is how many entries the stream has while their times are of no use.
	maxAhead = 1 << 16
)

// write sends what is published, and pulses, until the Bus is closed.
func (b *Bus) write() {
	defer func() {
		if c := b.client.Load(); c != nil {
			(*c).Close()
		}
	}()
	ticker := time.NewTicker(b.lag / pulses)
	defer ticker.Stop()
	failed, tick := false, true
	for {
		err := b.send(tick, failed)
		if err != nil {
			b.stats.errors.Add(1)
			if !b.pause(min(b.lag/(4*pulses), 50*time.Millisecond)) {
				return
			}
		}
		if failed = err != nil; failed {
			tick = true
			continue
		}
		select {
		case <-b.wake:
			tick = false
		case <-ticker.C:
			tick = true
		case <-b.stop:
			b.sayBye()
			return
		}
	}
}

// send adds a batch to the stream, in order: what is to be sent, and a pulse.
func (b *Bus) send(tick, again bool) error {
	client, err := b.connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), max(b.lag/2, minLag))
	defer cancel()
	if tick {
		if err := b.learnEpoch(ctx, client); err != nil {
			return err
		}
	}
	batch := b.batch(tick, again)
	if len(batch) == 0 {
		return nil
	}
	commands := make(rueidis.Commands, len(batch))
	for i, data := range batch {
		commands[i] = b.add(client, data)
	}
	added := uint64(0)
	for _, result := range client.DoMulti(ctx, commands...) {
		id, err := result.ToString()
		if err != nil {
			return err
		}
		at, err := parseID(id)
		if err != nil {
			return err
		}
		added++
		b.mu.Lock()
		at.Epoch = b.epoch
		b.added = at
		b.mu.Unlock()
	}
	b.stats.sent.Add(added)
	if tick {
		b.mu.Lock()
		select {
		case <-b.begun:
		default:
			close(b.begun)
		}
		b.mu.Unlock()
	}
	return nil
}

// add keeps the stream as long as Retention. If the clock of Redis is so far ahead, or somebody added
// an id that is, what is added from then on is never old: then it is bounded by number.
func (b *Bus) add(client rueidis.Client, data []byte) rueidis.Completed {
	now := time.Now()
	b.mu.Lock()
	ahead := later(b.added, fleet.Position{Number: uint64(now.Add(b.config.Retention).UnixMilli())})
	b.mu.Unlock()
	to, value := client.B().Xadd().Key(b.config.key("bus")), rueidis.BinaryString(data)
	if ahead {
		return to.Maxlen().Almost().Threshold(strconv.Itoa(maxAhead)).Id("*").FieldValue().FieldValue(field, value).Build()
	}
	oldest := strconv.FormatInt(now.Add(-b.config.Retention).UnixMilli(), 10)
	return to.Minid().Almost().Threshold(oldest).Id("*").FieldValue().FieldValue(field, value).Build()
}

// learnEpoch reads the name of the order that the stream has, or gives it one: a flush or a
// restart without persistence takes it away.
func (b *Bus) learnEpoch(ctx context.Context, client rueidis.Client) error {
	fresh := newEpoch()
	was, err := client.Do(ctx, client.B().Set().Key(b.config.key("epoch")).Value(fresh).Nx().Get().Build()).ToString()
	if rueidis.IsRedisNil(err) {
		was, err = fresh, nil
	}
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(was))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.epoch = binary.BigEndian.Uint64(digest[:]) | 1
	return nil
}

func newEpoch() string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // it does not fail
	return hex.EncodeToString(random[:])
}

// batch takes what is to be sent. After an error that is also what may have been lost by it.
func (b *Bus) batch(tick, again bool) [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	kept := b.out[:0]
	for _, m := range b.out {
		if m.back.IsZero() || now.Sub(m.back) < resendFor && len(b.out) < maxUnheard/2 {
			kept = append(kept, m)
		}
	}
	clear(b.out[len(kept):])
	b.out = kept
	var batch [][]byte
	for _, m := range b.out {
		if again || m.sent.IsZero() || m.back.IsZero() && now.Sub(m.sent) > b.lag/2 {
			m.sent = now
			batch = append(batch, m.data)
		}
		if len(batch) >= maxBatch && !again {
			select {
			case b.wake <- struct{}{}: // for the others
			default:
			}
			break
		}
	}
	if !tick {
		return batch
	}
	b.pulse++
	for n := range b.sent {
		if n+64 < b.pulse {
			delete(b.sent, n)
		}
	}
	b.sent[b.pulse] = now
	number := b.number
	for _, m := range b.out { // no further than what has been sent
		if m.sent.IsZero() {
			number = m.number - 1
			break
		}
	}
	e := envelope{kind: pulse, publisher: b.id, number: number, pulse: b.pulse, payload: binary.BigEndian.AppendUint64(nil, b.epoch)}
	e.payload = binary.BigEndian.AppendUint64(e.payload, uint64(now.UnixMilli()))
	return append(batch, e.seal(b.keys[0]))
}

// sayBye has the others not wait for this one, if that is possible.
func (b *Bus) sayBye() {
	client := b.client.Load()
	if client == nil {
		return
	}
	b.mu.Lock()
	b.pulse++
	e := envelope{kind: bye, publisher: b.id, number: b.number, pulse: b.pulse}
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), min(b.lag, 250*time.Millisecond))
	defer cancel()
	_ = (*client).Do(ctx, b.add(*client, e.seal(b.keys[0]))).Error()
}

// parseID reads the id of an entry of a stream.
func parseID(id string) (fleet.Position, error) {
	ms, part, _ := strings.Cut(id, "-")
	number, err := strconv.ParseUint(ms, 10, 64)
	if err != nil {
		return fleet.Position{}, err
	}
	seq, err := strconv.ParseUint(part, 10, 64)
	return fleet.Position{Number: number, Part: seq}, err
}

func formatID(at fleet.Position) string {
	return strconv.FormatUint(at.Number, 10) + "-" + strconv.FormatUint(at.Part, 10)
}

// before is the position just before at.
func before(at fleet.Position) fleet.Position {
	switch {
	case at.Part > 0:
		at.Part--
	case at.Number > 0:
		at.Number--
		at.Part = math.MaxUint64
	}
	return at
}

// later reports whether at comes after other, whatever their epochs.
func later(at, other fleet.Position) bool {
	return at.Number > other.Number || at.Number == other.Number && at.Part > other.Part
}
