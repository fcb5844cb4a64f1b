package main

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that requests are written with
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// response is what a proxy looks at of a DeltaDiscoveryResponse. It is read in place: its bytes are those that came, which
// are given back with release. Reading a message whole costs several times as much, and there is one processor for it.
type response struct {
	typeURL, nonce string
	resources      []resource
	removed        []string
	body           []byte
	buffer         mem.Buffer
}

// resource is one of a response; value is the message in its Any, of the type that typeURL names.
type resource struct {
	name, version, typeURL string
	value                  []byte
}

// holds says whether a text is in one of the resources.
func (r *response) holds(text []byte) bool {
	return slices.ContainsFunc(r.resources, func(each resource) bool { return bytes.Contains(each.value, text) })
}

func (r *response) release() {
	if r.buffer != nil {
		r.buffer.Free()
	}
	*r = response{resources: r.resources[:0]}
}

// codec writes requests as gRPC does and reads responses.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	r := v.(*response)
	r.buffer = data.MaterializeToBuffer(mem.DefaultBufferPool())
	r.body = r.buffer.ReadOnlyData()
	return fields(r.body, func(number protowire.Number, value []byte) error {
		switch number {
		case 2:
			r.resources = append(r.resources, resource{})
			return r.resources[len(r.resources)-1].read(value)
		case 4:
			r.typeURL = string(value)
		case 5:
			r.nonce = string(value)
		case 6:
			r.removed = append(r.removed, string(value))
		}
		return nil
	})
}

func (r *resource) read(message []byte) error {
	return fields(message, func(number protowire.Number, value []byte) error {
		switch number {
		case 1:
			r.version = string(value)
		case 2:
			return fields(value, func(number protowire.Number, value []byte) error {
				switch number {
				case 1:
					r.typeURL = string(value)
				case 2:
					r.value = value
				}
				return nil
			})
		case 3:
			r.name = string(value)
		}
		return nil
	})
}

// fields calls take with each length-delimited field of a message.
func fields(message []byte, take func(protowire.Number, []byte) error) error {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return fmt.Errorf("not a response: %w", protowire.ParseError(size))
		}
		message = message[size:]
		if kind != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(number, kind, message); size < 0 {
				return fmt.Errorf("not a response: %w", protowire.ParseError(size))
			}
			message = message[size:]
			continue
		}
		value, size := protowire.ConsumeBytes(message)
		if size < 0 {
			return fmt.Errorf("not a response: %w", protowire.ParseError(size))
		}
		if err := take(number, value); err != nil {
			return err
		}
		message = message[size:]
	}
	return nil
}
