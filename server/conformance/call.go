package conformance

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// call makes an RPC with the manager's deadline.
func call[Req, Resp any](_ *checker, rpc func(context.Context, Req, ...grpc.CallOption) (Resp, error), req Req) (Resp, error) {
	// Not the test's context: the cleanup calls RPCs after that has ended.
	ctx, cancel := context.WithTimeout(context.Background(), deadline(req))
	defer cancel()
	return rpc(ctx, req)
}

// deadline returns the manager's deadline for a request.
func deadline(req any) time.Duration {
	switch req.(type) {
	case *providerv1.TaskStatusRequest:
		return 10 * time.Second
	case *providerv1.ValidateRequest, *providerv1.GetCapabilitiesRequest, *providerv1.DescribeRequest:
		return 30 * time.Second
	case *providerv1.DeleteRequest, *providerv1.PowerRequest, *providerv1.SnapshotDeleteRequest,
		*providerv1.ListVMsRequest, *providerv1.GetDiskInfoRequest:
		return 2 * time.Minute
	case *providerv1.ExportDiskRequest, *providerv1.ImportDiskRequest:
		return 30 * time.Minute
	default:
		return 5 * time.Minute
	}
}

// businessCodes are the permitted codes for a wrong request. The manager counts all other codes towards its circuit breaker, which
// cuts off every VM of the provider.
var businessCodes = []codes.Code{
	codes.InvalidArgument, codes.FailedPrecondition, codes.AlreadyExists, codes.ResourceExhausted, codes.Aborted, codes.NotFound,
	codes.OutOfRange, codes.PermissionDenied, codes.Unimplemented,
}

// must ends the check when a call fails that has to succeed.
func (c *checker) must(resp any, err error) any {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
	return resp
}

// refused checks that a call failed with one of the codes; none given means any code that a wrong request may have.
func (c *checker) refused(what string, err error, allowed ...codes.Code) {
	c.Helper()
	if len(allowed) == 0 {
		allowed = businessCodes
	}
	switch code := status.Code(err); {
	case err == nil:
		c.Errorf("%s: success; want %v", what, allowed)
	case !slices.Contains(allowed, code):
		c.Errorf("%s: %v; want %v", what, err, allowed)
	case status.Convert(err).Message() == "":
		c.Errorf("%s: %v with an empty message", what, code)
	}
}
