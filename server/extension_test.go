package server_test

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// The free memory of the NAS is reported only to a caller that requests it; others cause no call.
func TestFreeMemoryIsReportedOnRequest(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		client, nas := onRelease(t, release)
		for _, tt := range []struct {
			ask  string
			want []string
		}{{"true", []string{"65536"}}, {"", nil}} {
			before := slices.Clone(nas.Calls())
			var header metadata.MD
			ctx := metadata.AppendToOutgoingContext(t.Context(), "truenas-memory", tt.ask)
			if _, err := client.GetCapabilities(ctx, &providerv1.GetCapabilitiesRequest{}, grpc.Header(&header)); err != nil {
				t.Fatal(err)
			}
			asked := slices.Contains(nas.Calls()[len(before):], "vm.get_available_memory")
			if got := header.Get("truenas-memory"); !slices.Equal(got, tt.want) || asked != (tt.want != nil) {
				t.Errorf("%s, asked with %q: got %v; the NAS was asked: %t", release, tt.ask, got, asked)
			}
		}
	}
}

// A dry run of Create refuses the same requests as Create, and never changes the NAS.
func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			var header metadata.MD
			if _, err := client.GetCapabilities(t.Context(), &providerv1.GetCapabilitiesRequest{}, grpc.Header(&header)); err != nil {
				t.Fatal(err)
			}
			if got := header.Get("truenas-extensions"); len(got) != 1 || got[0] != "dry-run,progress,settings,boot,memory,media,disk-pools" {
				t.Fatalf("extensions %v", got)
			}
			before := len(nas.State().Datasets)
			dry := metadata.AppendToOutgoingContext(t.Context(), "truenas-dry-run", "true")
			for _, tt := range []struct {
				name, network string
				want          codes.Code
			}{
				{"a bridge of the NAS", `[{"Name":"eth0","Bridge":"br0"}]`, codes.OK},
				{"a bridge that does not exist", `[{"Name":"eth0","Bridge":"br7"}]`, codes.FailedPrecondition},
				{"a VLAN without a bridge", `[{"Name":"eth0","Bridge":"br0","VLAN":99}]`, codes.FailedPrecondition},
			} {
				_, err := client.Create(dry, &providerv1.CreateRequest{
					Name: "dry", ClassJson: `{"CPU":1,"MemoryMiB":512,"Firmware":"UEFI","DiskDefaults":{"SizeGiB":1}}`, NetworksJson: tt.network,
				})
				if got := status.Code(err); got != tt.want {
					t.Errorf("%s: %v; want %v", tt.name, err, tt.want)
				}
			}
			if after := nas.State(); len(after.VMs) != 0 || len(after.Datasets) != before {
				t.Errorf("the NAS has %d VMs and %d datasets; want 0 and %d", len(after.VMs), len(after.Datasets), before)
			}
		})
	}
}

// A dry run of a Create whose image is not prepared yet does not fetch the image.
func TestDryRunPreparesNoImage(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release, loopbackImages)
			web, _ := serveImage(t)
			req := wanted("dry")
			req.ImageJson = fmt.Sprintf(`{"URL":%q,"Checksum":%q,"ChecksumType":"sha256"}`, web.URL+"/disk.raw.gz", web.checksum())
			before := nas.State()
			resp, err := client.Create(metadata.AppendToOutgoingContext(t.Context(), "truenas-dry-run", "true"), req)
			if err != nil || resp.GetId() == "" || resp.GetTask() != nil {
				t.Errorf("got %v, %v; want an id without a task", resp, err)
			}
			described, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: resp.GetId()})
			if err != nil || described.GetExists() {
				t.Errorf("after the dry run: %v, %v", described, err)
			}
			if lines := changes(t, before, nas.State()); lines != "" {
				t.Errorf("the NAS changed:\n%s", lines)
			}
			resp, err = client.Create(t.Context(), req)
			must(t, err)
			finish(t, client, resp.GetTask())
		})
	}
}
