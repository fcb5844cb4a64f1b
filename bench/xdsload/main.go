// xdsload is many simulated proxies in one process, to measure an xDS control plane from outside. Each opens a delta ADS
// stream, subscribes as Envoy does (CDS, EDS of its clusters, LDS, RDS of its listeners, VHDS if told) and acknowledges every response,
// but for those with the listener that it is told to refuse.
//
// It does what it is told on standard input, one JSON object a line, and answers each with one on standard output:
//
//	{"do": "connect", "address": "127.0.0.1:15010"}   all proxies; those that were connected before say what they hold
//	{"do": "disconnect"}                              returns when every stream is closed
//	{"do": "mark", "type": "type.googleapis.com/...", "text": "..."}   then, once every proxy got a resource of that type
//	                                                  with that text: {"marked": true, "at_ns": Unix time of the last}
//	{"do": "record", "path": "..."}                   where the first proxy's responses go from now on
//	{"do": "totals"}                                  what all proxies received since the start
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
)

type command struct {
	Do, Address, Type, Text, Path string
}

// answers writes one JSON line at a time: the marks come from the proxies' goroutines.
type answers struct {
	sync.Mutex
	encoder *json.Encoder
}

func (a *answers) write(value any) {
	a.Lock()
	defer a.Unlock()
	if err := a.encoder.Encode(value); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "xdsload:", err)
	os.Exit(1)
}

func main() {
	proxies := flag.Int("proxies", 500, "simulated proxies")
	namespaces := flag.Int("namespaces", 20, "namespaces ns-0, ns-1, ... that the proxies are spread over")
	istioVersion := flag.String("istio-version", "1.32.0", "ISTIO_VERSION in node metadata")
	refuse := flag.String("refuse", "", "a listener that every proxy refuses")
	split := flag.Bool("virtual-hosts", false, "take virtual hosts one by one (VHDS)")
	flag.Parse()
	out := &answers{encoder: json.NewEncoder(os.Stdout)}
	fleet := newFleet(*proxies, *namespaces, *istioVersion, *refuse, *split, out)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			fail(err)
		}
		switch c.Do {
		case "connect":
			fleet.connect(c.Address)
		case "disconnect":
			fleet.disconnect()
		case "mark":
			fleet.mark(c.Type, c.Text)
		case "record":
			if err := fleet.record(c.Path); err != nil {
				fail(err)
			}
		case "totals":
			out.write(fleet.totals())
			continue
		default:
			fail(fmt.Errorf("unknown command %q", c.Do))
		}
		out.write(map[string]bool{"ok": true})
	}
}
