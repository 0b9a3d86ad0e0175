package server_test

import (
	"fmt"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// BenchmarkDelete deletes a VM from a NAS with many others: the cost must not depend on their number.
func BenchmarkDelete(b *testing.B) {
	for _, others := range []int{100, 1000, 3000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			client, nas, _ := crowd(b, "25.10", others)
			addImage(b, nas)
			calls := 0
			for n := range b.N {
				b.StopTimer()
				created, err := client.Create(b.Context(), unnamed(fmt.Sprintf("vm-%d", n)))
				if err != nil {
					b.Fatal(err)
				}
				nas.ResetCalls()
				b.StartTimer()
				if _, err := client.Delete(b.Context(), &providerv1.DeleteRequest{Id: created.GetId()}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				calls += len(nas.Calls())
				b.StartTimer()
			}
			b.ReportMetric(float64(calls)/float64(b.N), "calls/op")
		})
	}
}
