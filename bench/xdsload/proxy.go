package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	cdsType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	edsType  = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	ldsType  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	rdsType  = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	vhdsType = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
)

// dependent is the type whose names the resources of a type refer to.
var dependent = map[string]string{cdsType: edsType, ldsType: rdsType}

// holding is what one proxy knows of one resource type.
type holding struct {
	versions   map[string]string
	subscribed map[string]bool
	requested  bool // on this stream
}

// proxy keeps what it holds when its stream ends, and says so on the next.
type proxy struct {
	number int
	node   *core.Node
	types  map[string]*holding
	refuse string // the name of a listener, empty for none
	split  bool   // takes virtual hosts one by one
}

func newProxy(number int, namespace, istioVersion, refuse string, split bool) *proxy {
	name := fmt.Sprintf("client-%d", number)
	address := fmt.Sprintf("12.0.%d.%d", (number+1)>>8, (number+1)&255)
	metadata, err := structpb.NewStruct(map[string]any{
		"NAMESPACE": namespace, "NAME": name, "LABELS": map[string]any{"app": name}, "SERVICE_ACCOUNT": "default",
		"CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local", "INSTANCE_IPS": address,
		"INTERCEPTION_MODE": "REDIRECT", "ISTIO_VERSION": istioVersion, "VIRTUAL_HOST_DISCOVERY": fmt.Sprint(split),
	})
	if err != nil {
		fail(err)
	}
	p := &proxy{number: number, refuse: refuse, split: split, types: map[string]*holding{}, node: &core.Node{
		Id:            fmt.Sprintf("sidecar~%s~%s.%s~%s.svc.cluster.local", address, name, namespace, namespace),
		Cluster:       fmt.Sprintf("%s.%s", name, namespace),
		Metadata:      metadata,
		UserAgentName: "envoy",
		UserAgentVersionType: &core.Node_UserAgentBuildVersion{UserAgentBuildVersion: &core.BuildVersion{
			Version: &typev3.SemanticVersion{MajorNumber: 1, MinorNumber: 40}}},
	}}
	for _, typeURL := range []string{cdsType, edsType, ldsType, rdsType, vhdsType} {
		p.types[typeURL] = &holding{versions: map[string]string{}, subscribed: map[string]bool{}}
	}
	return p
}

// stream is one ADS stream of a proxy; the node goes with the first request only.
type stream struct {
	*proxy
	grpc.ClientStream
	node *core.Node
}

func (s *stream) request(r *discovery.DeltaDiscoveryRequest) error {
	r.Node, s.node = s.node, nil
	return s.SendMsg(r)
}

// start makes the first request of a type on this stream, with the versions held from an earlier one.
func (s *stream) start(typeURL string) error {
	h := s.types[typeURL]
	h.requested = true
	return s.request(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURL,
		ResourceNamesSubscribe: slices.Collect(maps.Keys(h.subscribed)), InitialResourceVersions: maps.Clone(h.versions)})
}

// run holds one stream until it ends or the context does.
func (p *proxy) run(ctx context.Context, address string, f *fleet) error {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
		grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(1<<20))
	if err != nil {
		return err
	}
	defer connection.Close()
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	call, err := connection.NewStream(ctx, both,
		discovery.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName, grpc.ForceCodecV2(newCodec()))
	if err != nil {
		return err
	}
	s := &stream{p, call, p.node}
	if err := s.open(); err != nil {
		return err
	}
	var r response
	for {
		if err := s.RecvMsg(&r); err != nil {
			return err
		}
		if err := f.received(p, &r); err != nil {
			fail(err)
		}
		if p.types[r.typeURL] != nil {
			if err := s.take(&r); err != nil {
				return err
			}
		}
		r.release()
	}
}

// open asks as Envoy does: clusters first on a first connect; on a new stream all types at once, with what is held.
func (s *stream) open() error {
	for typeURL, h := range s.types {
		h.requested, h.subscribed = false, map[string]bool{}
		if typeURL == edsType || typeURL == rdsType {
			for name := range h.versions {
				h.subscribed[name] = true
			}
		}
	}
	if err := s.start(cdsType); err != nil {
		return err
	}
	for _, typeURL := range []string{edsType, ldsType, rdsType, vhdsType} {
		if len(s.types[typeURL].versions) > 0 {
			if err := s.start(typeURL); err != nil {
				return err
			}
		}
	}
	return nil
}

// take stores a response, acknowledges or refuses it, and subscribes to the names that its resources refer to.
func (s *stream) take(r *response) error {
	h := s.types[r.typeURL]
	answer := &discovery.DeltaDiscoveryRequest{TypeUrl: r.typeURL, ResponseNonce: r.nonce}
	for _, resource := range r.resources {
		if r.typeURL == ldsType && resource.name == s.refuse {
			message := fmt.Sprintf("Error adding/updating listener(s) %s: refused by the bench\n", resource.name)
			answer.ErrorDetail = status.New(codes.Internal, message).Proto()
			continue
		}
		h.versions[resource.name] = resource.version
	}
	for _, name := range r.removed {
		delete(h.versions, name)
	}
	if err := s.request(answer); err != nil {
		return err
	}
	if other := dependent[r.typeURL]; other != "" {
		if err := s.follow(other, r.resources); err != nil {
			return err
		}
	}
	if r.typeURL == cdsType && !s.types[ldsType].requested {
		return s.start(ldsType)
	}
	if r.typeURL == rdsType && s.split && len(r.resources) > 0 && !s.types[vhdsType].requested {
		return s.start(vhdsType)
	}
	return nil
}

// follow subscribes to names of another type that these resources refer to.
func (s *stream) follow(other string, resources []resource) error {
	h := s.types[other]
	var fresh []string
	for _, resource := range resources {
		for _, name := range references(resource) {
			if !h.subscribed[name] {
				h.subscribed[name] = true
				fresh = append(fresh, name)
			}
		}
	}
	if !h.requested {
		return s.start(other)
	}
	if len(fresh) == 0 {
		return nil
	}
	return s.request(&discovery.DeltaDiscoveryRequest{TypeUrl: other, ResourceNamesSubscribe: fresh})
}
