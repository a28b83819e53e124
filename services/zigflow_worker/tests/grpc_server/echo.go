package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// echoServer answers by the names of methods; its messages are dynamic.
type echoServer struct {
	files     *protoregistry.Files
	hanging   atomic.Int32
	cancelled atomic.Int32
}

// register serves a service with what its methods' kinds say.
func (s *echoServer) register(server *grpc.Server, name string) error {
	found, err := s.files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return err
	}
	service := found.(protoreflect.ServiceDescriptor)
	description := grpc.ServiceDesc{
		ServiceName: name,
		HandlerType: (*any)(nil),
		Metadata:    service.ParentFile().Path(),
	}
	methods := service.Methods()
	for i := range methods.Len() {
		method := methods.Get(i)
		description.Streams = append(description.Streams, grpc.StreamDesc{
			StreamName:    string(method.Name()),
			ClientStreams: true,
			ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				return s.serve(method, stream)
			},
		})
	}
	server.RegisterService(&description, s)
	return nil
}

func (s *echoServer) serve(method protoreflect.MethodDescriptor, stream grpc.ServerStream) error {
	requests := 0
	var texts []string
	var last *dynamicpb.Message
	for {
		request := dynamicpb.NewMessage(method.Input())
		err := stream.RecvMsg(request)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		requests, last = requests+1, request
		texts = append(texts, text(request, "text"))
		if !method.IsStreamingClient() {
			break
		}
		if code := number(request, "fail_with"); code != 0 {
			return status.Error(codes.Code(code), text(request, "text"))
		}
		if method.Name() == "Chat" {
			if err := stream.SendMsg(s.reply(method, stream.Context(), request, requests)); err != nil {
				return err
			}
		}
	}
	if method.Name() == "Chat" {
		return nil
	}
	if last == nil {
		last = dynamicpb.NewMessage(method.Input())
	}
	return s.answer(method, stream, last, texts)
}

func (s *echoServer) answer(
	method protoreflect.MethodDescriptor, stream grpc.ServerStream, request *dynamicpb.Message, texts []string,
) error {
	if method.Name() == "SayHello" {
		reply := dynamicpb.NewMessage(method.Output())
		set(reply, "message", protoreflect.ValueOfString("Hello "+text(request, "name")))
		return stream.SendMsg(reply)
	}
	if code := number(request, "fail_with"); code != 0 {
		said := text(request, "text") + told(stream.Context(), text(request, "header"))
		return status.Error(codes.Code(code), said)
	}
	if isSet(request, "hang") {
		s.hanging.Add(1)
		<-stream.Context().Done()
		s.hanging.Add(-1)
		s.cancelled.Add(1)
		return stream.Context().Err()
	}
	times := 1
	if method.IsStreamingServer() {
		times = number(request, "times")
	}
	for i := range times {
		reply := s.reply(method, stream.Context(), request, i+1)
		set(reply, "is_last", protoreflect.ValueOfBool(i+1 == times))
		if method.Name() == "Collect" {
			list := reply.Mutable(field(reply, "texts")).List()
			for _, each := range texts {
				list.Append(protoreflect.ValueOfString(each))
			}
		}
		if err := stream.SendMsg(reply); err != nil {
			return err
		}
	}
	return nil
}

func (s *echoServer) reply(
	method protoreflect.MethodDescriptor, ctx context.Context, request *dynamicpb.Message, n int,
) *dynamicpb.Message {
	reply := dynamicpb.NewMessage(method.Output())
	incoming, _ := metadata.FromIncomingContext(ctx)
	said := text(request, "text")
	if bytes := number(request, "reply_bytes"); bytes > 0 {
		said = strings.Repeat("x", bytes)
	}
	if method.Name() == "Cancelled" {
		said = fmt.Sprintf("%d hang, %d cancelled", s.hanging.Load(), s.cancelled.Load())
	}
	set(reply, "reply_text", protoreflect.ValueOfString(said))
	set(reply, "number", protoreflect.ValueOfInt32(int32(n)))
	set(reply, "request", protoreflect.ValueOfMessage(request))
	set(reply, "authority", protoreflect.ValueOfString(strings.Join(incoming.Get(":authority"), ",")))
	set(reply, "header", protoreflect.ValueOfString(told(ctx, text(request, "header"))))
	return reply
}

// told returns the values of metadata.
func told(ctx context.Context, name string) string {
	incoming, _ := metadata.FromIncomingContext(ctx)
	return strings.Join(incoming.Get(name), ",")
}

func field(message *dynamicpb.Message, name string) protoreflect.FieldDescriptor {
	return message.Descriptor().Fields().ByName(protoreflect.Name(name))
}

func set(message *dynamicpb.Message, name string, value protoreflect.Value) {
	message.Set(field(message, name), value)
}

func text(message *dynamicpb.Message, name string) string {
	if found := field(message, name); found != nil {
		return message.Get(found).String()
	}
	return ""
}

func number(message *dynamicpb.Message, name string) int {
	return int(message.Get(field(message, name)).Int())
}

func isSet(message *dynamicpb.Message, name string) bool {
	return message.Get(field(message, name)).Bool()
}
