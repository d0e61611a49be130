package main

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"syscall"
	"time"
)

// At full speed the clock is read for one record in so many, as `millrace bench` does.
const recordsPerReading = 16

type quantiles struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

type result struct {
	Records    int       `json:"records"`
	Seconds    float64   `json:"seconds"`
	RecordRate float64   `json:"records_per_second"`
	ByteRate   float64   `json:"megabytes_per_second"`
	LatencyMs  quantiles `json:"latency_ms"`
	LongestGap float64   `json:"longest_gap_ms"`
	CPUSeconds float64   `json:"cpu_seconds"`
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func summary(o options, records int, elapsed time.Duration, cpuBefore float64) result {
	seconds := max(elapsed.Seconds(), 1e-6)
	return result{
		Records: records, Seconds: seconds, RecordRate: float64(records) / seconds,
		ByteRate:   float64(records) * float64(o.recordSize) / 1e6 / seconds,
		CPUSeconds: cpuSeconds() - cpuBefore,
	}
}

// tally gathers answers; any goroutine.
type tally struct {
	mu         sync.Mutex
	latencies  []time.Duration
	answeredAt time.Time
	longestGap time.Duration
	firstError error
	pending    sync.WaitGroup
}

// answer counts one record. A zero since: its time is not taken.
func (t *tally) answer(since time.Time, err error) {
	defer t.pending.Done()
	if err == nil && since.IsZero() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		if t.firstError == nil {
			t.firstError = err
		}
		return
	}
	now := time.Now()
	t.latencies = append(t.latencies, now.Sub(since))
	t.longestGap = max(t.longestGap, now.Sub(t.answeredAt))
	t.answeredAt = now
}

func (t *tally) quantiles() quantiles {
	slices.Sort(t.latencies)
	at := func(fraction float64) float64 {
		if len(t.latencies) == 0 {
			return 0
		}
		index := min(int(fraction*float64(len(t.latencies))), len(t.latencies)-1)
		return milliseconds(t.latencies[index])
	}
	return quantiles{P50: at(0.5), P99: at(0.99), P999: at(0.999), Max: at(1)}
}

// produce sends the records, at o.rate counting each from when it was due.
func produce(on system, o options) (result, error) {
	to, err := on.producer()
	if err != nil {
		return result{}, err
	}
	value := make([]byte, o.recordSize)
	random := rand.New(rand.NewSource(int64(o.recordSize)))
	for i := range value {
		value[i] = byte('!' + random.Intn(90))
	}
	cpuBefore := cpuSeconds()
	began := time.Now()
	t := tally{answeredAt: began}
	for i := range o.records {
		since := time.Time{}
		if o.rate > 0 {
			since = began.Add(time.Duration(float64(i) / o.rate * float64(time.Second)))
			time.Sleep(time.Until(since))
		} else if i%recordsPerReading == 0 {
			since = time.Now()
		}
		of := value
		if o.stamp {
			of = stamped(value, since)
		}
		t.pending.Add(1)
		to.send(i, of, func(err error) { t.answer(since, err) })
	}
	to.flush()
	t.pending.Wait()
	r := summary(o, o.records, time.Since(began), cpuBefore)
	r.LatencyMs = t.quantiles()
	r.LongestGap = milliseconds(t.longestGap)
	return r, t.firstError
}

// consume reads o.records records; the time begins before the client connects.
func consume(on system, o options) (result, error) {
	cpuBefore := cpuSeconds()
	began := time.Now()
	var mu sync.Mutex
	read := -o.skip
	t := tally{}
	err := on.consume(func(count int, values func() [][]byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if o.stamp {
			for i, value := range values() {
				if at := read + i; at >= 0 && at < o.records {
					t.latencies = append(t.latencies, time.Since(stampOf(value)))
				}
			}
		}
		read += count
		return read >= o.records
	})
	if err == nil && read < o.records {
		err = fmt.Errorf("%d of %d records", read, o.records)
	}
	r := summary(o, read, time.Since(began), cpuBefore)
	r.LatencyMs = t.quantiles()
	return r, err
}

// stamped is a copy of the value that begins with the time.
func stamped(value []byte, at time.Time) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(at.UnixMicro())), value[8:]...)
}

func stampOf(value []byte) time.Time {
	return time.UnixMicro(int64(binary.LittleEndian.Uint64(value)))
}
