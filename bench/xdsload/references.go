package main

import (
	"hash/maphash"
	"sync"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	manager "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// known holds what a resource refers to by a hash of its bytes: thousands of proxies get the same ones.
var (
	known sync.Map
	seed  = maphash.MakeSeed()
)

// references returns the EDS name of a cluster, or the route configuration names of a listener.
func references(r resource) []string {
	hash := maphash.Bytes(seed, r.value)
	if names, ok := known.Load(hash); ok {
		return names.([]string)
	}
	message, err := (&anypb.Any{TypeUrl: r.typeURL, Value: r.value}).UnmarshalNew()
	if err != nil {
		fail(err)
	}
	var names []string
	switch m := message.(type) {
	case *cluster.Cluster:
		if m.GetType() == cluster.Cluster_EDS {
			name := m.GetEdsClusterConfig().GetServiceName()
			if name == "" {
				name = m.Name
			}
			names = []string{name}
		}
	case *listener.Listener:
		names = routeConfigurations(m)
	}
	known.Store(hash, names)
	return names
}

func routeConfigurations(l *listener.Listener) (names []string) {
	chains := l.FilterChains
	if l.DefaultFilterChain != nil {
		chains = append(chains, l.DefaultFilterChain)
	}
	for _, chain := range chains {
		for _, filter := range chain.Filters {
			m := &manager.HttpConnectionManager{}
			if filter.GetTypedConfig().MessageIs(m) {
				if err := filter.GetTypedConfig().UnmarshalTo(m); err != nil {
					fail(err)
				}
				if m.GetRds() != nil {
					names = append(names, m.GetRds().RouteConfigName)
				}
			}
		}
	}
	return names
}
