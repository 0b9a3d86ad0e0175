package server

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

// troubleInARow is how often in a row trouble is told as such. Two replicas stay below the ten that
// open the manager's circuit breaker.
const troubleInARow = 4

// Sparing keeps the manager's circuit breaker closed. While that is open, which takes ten answers
// of trouble in a row over all VMs of a provider, the manager lets go of every VM that is being
// deleted, and its VM stays on the NAS for ever. So after some answers in a row the same trouble is
// told as Aborted, which means "ask again" too and is not counted. The adapter for Omni has no breaker, and asks another
// provider when the NAS of this one is away; it says who it is, and is told as it is.
func Sparing() grpc.UnaryServerInterceptor {
	var inARow atomic.Int32
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		resp, err := handle(ctx, req)
		switch {
		case fromOmni(ctx):
		case !strings.HasPrefix(info.FullMethod, "/"+providerv1.Provider_ServiceDesc.ServiceName+"/"):
		case !opensBreaker(status.Code(err)):
			inARow.Store(0)
		case inARow.Add(1) > troubleInARow:
			return nil, status.Error(codes.Aborted, status.Convert(err).Message())
		}
		return resp, err
	}
}

// fromOmni says whether the caller is the adapter for Omni.
func fromOmni(ctx context.Context) bool {
	agent := metadata.ValueFromIncomingContext(ctx, "user-agent")
	return len(agent) > 0 && strings.HasPrefix(agent[0], "omni-infra-provider")
}

// opensBreaker says whether the manager counts a code towards its circuit breaker.
func opensBreaker(code codes.Code) bool {
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown:
		return true
	}
	return false
}
