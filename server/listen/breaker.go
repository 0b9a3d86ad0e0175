package listen

import (
	"context"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// maxFaults is how many faults in a row the manager receives with their own code. Two replicas stay below the ten that open
// the manager's circuit breaker.
const maxFaults = 4

// Breaker keeps the manager's circuit breaker closed. Ten faults in a row over all VMs of a provider open it; while it is open, the
// manager removes the finalizers of VMs that are being deleted, and their VMs stay on the NAS forever. After [maxFaults] faults in
// a row, further ones get the code Aborted, which the manager retries as well and does not count. The Omni adapter has no circuit
// breaker and fails over to another provider when the NAS of this one is unavailable; it receives the codes unchanged.
func Breaker() grpc.UnaryServerInterceptor {
	var faults atomic.Int32
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		resp, err := handle(ctx, req)
		switch {
		case fromOmni(ctx):
		case !strings.HasPrefix(info.FullMethod, "/"+providerv1.Provider_ServiceDesc.ServiceName+"/"):
		case !countsAsFault(status.Code(err)):
			faults.Store(0)
		case faults.Add(1) > maxFaults:
			return nil, status.Error(codes.Aborted, status.Convert(err).Message())
		}
		return resp, err
	}
}

// fromOmni reports whether the caller is the Omni adapter.
func fromOmni(ctx context.Context) bool {
	agent := metadata.ValueFromIncomingContext(ctx, "user-agent")
	return len(agent) > 0 && strings.HasPrefix(agent[0], "omni-infra-provider")
}

// countsAsFault reports whether the manager counts a code towards its circuit breaker.
func countsAsFault(code codes.Code) bool {
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown:
		return true
	}
	return false
}
