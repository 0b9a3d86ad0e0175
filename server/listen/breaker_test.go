package listen

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// The manager's circuit breaker opens after ten faults in a row, and counts those of two replicas together.
func TestTheCircuitBreakerStaysClosed(t *testing.T) {
	const opens = 10
	ctx := t.Context()
	answer := func(breaker grpc.UnaryServerInterceptor, method string, code codes.Code) codes.Code {
		_, err := breaker(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
			return nil, status.Error(code, "the NAS is away")
		})
		if err != nil && status.Convert(err).Message() != "the NAS is away" {
			t.Errorf("the message is %q", status.Convert(err).Message())
		}
		return status.Code(err)
	}
	for _, fault := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown} {
		replicas := []grpc.UnaryServerInterceptor{Breaker(), Breaker()}
		if got := answer(replicas[0], providerv1.Provider_Delete_FullMethodName, fault); got != fault {
			t.Errorf("the first %v is returned as %v", fault, got)
		}
		counted := 1
		for i := range 100 {
			answer(replicas[0], "/grpc.health.v1.Health/Check", codes.OK) // not from the manager
			if got := answer(replicas[i%2], providerv1.Provider_Delete_FullMethodName, fault); countsAsFault(got) {
				counted++
			} else if got != codes.Aborted {
				t.Errorf("%v is returned as %v", fault, got)
			}
		}
		if counted >= opens {
			t.Errorf("%v: %d of 101 are counted", fault, counted)
		}
		answer(replicas[0], providerv1.Provider_Validate_FullMethodName, codes.OK)
		if got := answer(replicas[0], providerv1.Provider_Delete_FullMethodName, fault); got != fault {
			t.Errorf("%v after a success is returned as %v", fault, got)
		}
	}

	// The manager receives four faults in a row with their own code, and a refusal in between begins the count again.
	breaker := Breaker()
	for _, given := range []codes.Code{codes.InvalidArgument, codes.NotFound, codes.OK} {
		for i := range maxFaults + 1 {
			want := codes.Unavailable
			if i == maxFaults {
				want = codes.Aborted
			}
			if got := answer(breaker, providerv1.Provider_Delete_FullMethodName, codes.Unavailable); got != want {
				t.Errorf("fault %d in a row is returned as %v", i+1, got)
			}
		}
		if got := answer(breaker, providerv1.Provider_Delete_FullMethodName, given); got != given {
			t.Errorf("%v is returned as %v", given, got)
		}
	}
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("user-agent", "virtrigaud-manager"))
	for range maxFaults {
		answer(breaker, providerv1.Provider_Delete_FullMethodName, codes.Unavailable)
	}
	if got := answer(breaker, providerv1.Provider_Delete_FullMethodName, codes.Unavailable); got != codes.Aborted {
		t.Errorf("the fifth fault of a caller with a name is returned as %v", got)
	}

	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("user-agent", "omni-infra-provider-truenas grpc-go/1"))
	omni := Breaker()
	for range 2 * opens {
		if got := answer(omni, providerv1.Provider_Create_FullMethodName, codes.Unavailable); got != codes.Unavailable {
			t.Fatalf("Omni receives %v", got)
		}
	}
}
