package omni

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
)

// TestRunningMachinesAreCheap counts the calls to the NAS of each comparison of machines with requests: two lists, for any number
// of machines. At the default interval of 30 seconds, that is less than a call in 10 seconds.
func TestRunningMachinesAreCheap(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			var rounds atomic.Int64
			count := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				if strings.HasSuffix(method, "/ListVMs") {
					rounds.Add(1)
				}
				return invoke(ctx, method, req, reply, cc, opts...)
			}
			client, nas := onNAS(t, release, nil, grpc.WithUnaryInterceptor(count))
			w := newWorld(t, Backend{Name: "nas", Client: client})
			_, stop := w.start()
			for i := range 3 {
				w.request(fmt.Sprintf("m%d", i), class)
			}
			for i := range 3 {
				w.provisioned(fmt.Sprintf("m%d", i))
			}
			pass := func(n int64) {
				until(t, fmt.Sprintf("the machines were compared %d times", n), func() bool { return rounds.Load() >= n })
			}
			pass(rounds.Load() + 3) // the new machines have been compared
			nas.ResetCalls()
			before := rounds.Load()
			pass(before + 20)
			calls := nas.Calls()
			if most := 2 * int(rounds.Load()-before+1); len(calls) > most {
				t.Errorf("%d calls to the NAS, at most %d are allowed: %v", len(calls), most, calls)
			}
			stop()
		})
	}
}
