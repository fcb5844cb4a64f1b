// Opens streams with gRPC for Go: ADDRESS METHOD STREAMS FIRST SECOND [ROOTS CHAIN KEY], files of messages as bytes.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// plain has messages stay bytes.
type plain struct{}

func (plain) Name() string                      { return "proto" }
func (plain) Marshal(value any) ([]byte, error) { return *value.(*[]byte), nil }
func (plain) Unmarshal(body []byte, value any) error {
	*value.(*[]byte) = append([]byte(nil), body...)
	return nil
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(path string) []byte {
	content, err := os.ReadFile(path)
	check(err)
	return content
}

func secured(files []string) credentials.TransportCredentials {
	if len(files) == 0 {
		return insecure.NewCredentials()
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(files[0]))
	pair, err := tls.LoadX509KeyPair(files[1], files[2])
	check(err)
	return credentials.NewTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: "localhost"})
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	options := grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{}), grpc.MaxCallRecvMsgSize(64<<20))
	channel, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(secured(os.Args[6:])), options)
	check(err)
	count, err := strconv.Atoi(os.Args[3])
	check(err)
	messages := [][]byte{read(os.Args[4]), read(os.Args[5])}
	var total atomic.Int64
	var served, end sync.WaitGroup
	end.Add(1) // all stay open until each was served
	for range count {
		served.Add(1)
		go func() {
			stream, err := channel.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, os.Args[2])
			check(err)
			for _, message := range messages {
				check(stream.SendMsg(&message))
				var answer []byte
				check(stream.RecvMsg(&answer))
				total.Add(int64(len(answer)))
			}
			served.Done()
			end.Wait()
		}()
	}
	served.Wait()
	fmt.Println(count, total.Load())
}
