package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// fleet is all proxies, what they received together, and the mark they wait for.
type fleet struct {
	proxies []*proxy
	out     *answers

	cancel context.CancelFunc
	open   sync.WaitGroup

	bytes, messages, resources, lost, lastNs atomic.Int64
	current                                  atomic.Pointer[mark]

	recordLock sync.Mutex
	recording  *os.File
}

// mark is a text that a changed resource holds. A proxy may be sent that resource twice, and counts once.
type mark struct {
	typeURL string
	text    []byte
	left    atomic.Int64
	seen    []bool // each written by its proxy alone
}

func newFleet(proxies, namespaces int, istioVersion, refuse string, split bool, out *answers) *fleet {
	f := &fleet{out: out}
	for n := 0; n < proxies; n++ {
		f.proxies = append(f.proxies, newProxy(n, fmt.Sprintf("ns-%d", n%namespaces), istioVersion, refuse, split))
	}
	return f
}

func (f *fleet) connect(address string) {
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(context.Background())
	for _, p := range f.proxies {
		f.open.Add(1)
		go func() {
			defer f.open.Done()
			for ctx.Err() == nil { // as Envoy: a lost stream is opened again
				err := p.run(ctx, address, f)
				if ctx.Err() == nil {
					if f.lost.Add(1) <= 5 {
						fmt.Fprintln(os.Stderr, "proxy", p.number, "lost its stream:", err)
					}
					time.Sleep(500 * time.Millisecond)
				}
			}
		}()
	}
}

func (f *fleet) disconnect() {
	f.cancel()
	f.open.Wait()
}

func (f *fleet) mark(typeURL, text string) {
	m := &mark{typeURL: typeURL, text: []byte(text), seen: make([]bool, len(f.proxies))}
	m.left.Store(int64(len(f.proxies)))
	f.current.Store(m)
}

func (f *fleet) record(path string) error {
	f.recordLock.Lock()
	defer f.recordLock.Unlock()
	if f.recording != nil {
		if err := f.recording.Close(); err != nil {
			return err
		}
	}
	var err error
	f.recording, err = os.Create(path)
	return err
}

func (f *fleet) totals() map[string]int64 {
	result := map[string]int64{
		"bytes": f.bytes.Load(), "messages": f.messages.Load(), "resources": f.resources.Load(),
		"lost": f.lost.Load(), "last_ns": f.lastNs.Load(),
	}
	if m := f.current.Load(); m != nil {
		result["unmarked"] = m.left.Load()
	}
	return result
}

// received counts one response, looks for the mark in it and keeps it if the proxy is the recorded one.
func (f *fleet) received(p *proxy, r *response) error {
	now := time.Now().UnixNano()
	f.lastNs.Store(now)
	f.messages.Add(1)
	f.resources.Add(int64(len(r.resources)))
	f.bytes.Add(int64(len(r.body)))
	if m := f.current.Load(); m != nil && m.typeURL == r.typeURL && !m.seen[p.number] && r.holds(m.text) {
		m.seen[p.number] = true
		if m.left.Add(-1) == 0 {
			f.out.write(map[string]any{"marked": true, "at_ns": now})
		}
	}
	if p.number == 0 {
		return f.keep(r.body)
	}
	return nil
}

// keep appends a response to the recording: four bytes of length, then the message.
func (f *fleet) keep(body []byte) error {
	f.recordLock.Lock()
	defer f.recordLock.Unlock()
	if f.recording == nil {
		return nil
	}
	_, err := f.recording.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}
