// Serves echo.v1.Echo and GreeterApi.Greeter, whose descriptors it is given: tests call it.
//
// It prints its address once it serves, and ends when its input does.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/reflection"
	v1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	v1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	descriptors := flag.String("descriptors", "", "a FileDescriptorSet with all imports")
	address := flag.String("address", "127.0.0.1:0", "where to serve")
	certificate := flag.String("cert", "", "PEM of a certificate: serve TLS")
	key := flag.String("key", "", "PEM of its key")
	reflected := flag.String("reflection", "v1", "v1, v1alpha or none")
	flag.Parse()

	files, err := readFiles(*descriptors)
	if err != nil {
		log.Fatal(err)
	}
	var options []grpc.ServerOption
	if *certificate != "" {
		pair, err := tls.LoadX509KeyPair(*certificate, *key)
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	}
	server := grpc.NewServer(options...)
	echo := &echoServer{files: files}
	for _, name := range []string{"echo.v1.Echo", "GreeterApi.Greeter"} {
		if err := echo.register(server, name); err != nil {
			log.Fatal(err)
		}
	}
	register(server, files, *reflected)
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

func register(server *grpc.Server, files *protoregistry.Files, version string) {
	options := reflection.ServerOptions{Services: server, DescriptorResolver: files}
	switch version {
	case "v1":
		v1.RegisterServerReflectionServer(server, reflection.NewServerV1(options))
	case "v1alpha":
		v1alpha.RegisterServerReflectionServer(server, reflection.NewServer(options))
	}
}

func readFiles(path string) (*protoregistry.Files, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(content, &set); err != nil {
		return nil, err
	}
	return protodesc.NewFiles(&set)
}
