package main

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/siderolabs/image-factory/pkg/schematic"
	omnimanagement "github.com/siderolabs/omni/client/api/omni/management"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"virtrigaud-provider-truenas/omni"
	"virtrigaud-provider-truenas/omni/bootasset"
)

// fakeOmni is the management API of an Omni. An old one does not serve boot assets.
type fakeOmni struct {
	old      bool
	asked    *bootasset.Request
	version  string // the Talos version of the last schematic
	schedule func(*bootasset.Request) (*bootasset.Response, error)
}

func (f *fakeOmni) dial(t *testing.T) *management {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	methods := []grpc.MethodDesc{{MethodName: "CreateSchematicFromRaw", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var req omnimanagement.CreateSchematicFromRawRequest
		if err := decode(&req); err != nil {
			return nil, err
		}
		if number, kind, n := protowire.ConsumeTag(req.ProtoReflect().GetUnknown()); number == 2 && kind == protowire.BytesType {
			f.version, _ = protowire.ConsumeString(req.ProtoReflect().GetUnknown()[n:])
		}
		return &omnimanagement.CreateSchematicResponse{SchematicId: "made"}, nil
	}}}
	if !f.old {
		methods = append(methods, grpc.MethodDesc{MethodName: "GetBootAssetURL", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			f.asked = &bootasset.Request{}
			if err := decode(f.asked); err != nil {
				return nil, err
			}
			return f.schedule(f.asked)
		}})
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "management.ManagementService", HandlerType: (*any)(nil), Methods: methods}, nil)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &management{conn}
}

func TestBootAssetThroughOmni(t *testing.T) {
	q := omni.AssetQuery{TalosVersion: "v1.12.3", Schematic: "abc", Format: "raw.zst", SecureBoot: true}
	f := &fakeOmni{schedule: func(*bootasset.Request) (*bootasset.Response, error) {
		return &bootasset.Response{Url: "https://factory/x.raw.zst", Headers: map[string]string{"Authorization": "secret"}, StorageKey: "key"}, nil
	}}
	got, err := f.dial(t).DiskAsset(t.Context(), q)
	if err != nil || got.URL != "https://factory/x.raw.zst" || got.Key != "key" || !maps.Equal(got.Headers, map[string]string{"Authorization": "secret"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if a := f.asked; a.GetTalosVersion() != "v1.12.3" || a.GetSchematicId() != "abc" || a.GetFormat() != "raw.zst" || !a.GetSecureBoot() ||
		a.GetPlatform() != "nocloud" || a.GetArchitecture() != "amd64" || a.GetBootAssetKind() != bootasset.Request_KIND_DISK || a.GetStandaloneUrl() {
		t.Errorf("Omni received the requests %v", a)
	}
}

func TestMissingBootAssets(t *testing.T) {
	old := &fakeOmni{old: true}
	if _, err := old.dial(t).DiskAsset(t.Context(), omni.AssetQuery{}); !errors.Is(err, omni.ErrNoAssets) {
		t.Errorf("an old Omni: %v; want ErrNoAssets", err)
	}
	for name, tt := range map[string]struct {
		code codes.Code
		none bool // the format does not exist, which is not an error
	}{"no such format": {codes.NotFound, true}, "no access": {codes.PermissionDenied, false}, "away": {codes.Unavailable, false}} {
		f := &fakeOmni{schedule: func(*bootasset.Request) (*bootasset.Response, error) { return nil, status.Error(tt.code, name) }}
		got, err := f.dial(t).DiskAsset(t.Context(), omni.AssetQuery{})
		if (err == nil) != tt.none || got.URL != "" || errors.Is(err, omni.ErrNoAssets) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// With two factories, Omni chooses the factory of a schematic by the Talos version, which the SDK does not pass on.
func TestSchematicForATalosVersion(t *testing.T) {
	f := &fakeOmni{}
	id, err := f.dial(t).EnsureSchematic(omni.WithTalosVersion(t.Context(), "v1.12.3"), schematic.Schematic{})
	if err != nil || id != "made" || f.version != "v1.12.3" {
		t.Errorf("schematic %q for Talos %q, %v", id, f.version, err)
	}
}

func TestLogins(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct{ content, err string }{
		"good":        {"https://factory.example: {username: a, password: secret}\nhttps://other.example:8443: {username: b, password: secret}\n", ""},
		"no password": {"https://factory.example: {username: a}\n", "username and password are needed"},
		"no address":  {"factory.example: {username: a, password: secret}\n", "want https://host"},
		"no YAML":     {"secret: [", "not YAML"},
	} {
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		logins, err := readLogins(file)
		if (err == nil) != (tt.err == "") || err != nil && (!strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v; want %q", name, err, tt.err)
		}
		if name == "good" && (len(logins) != 2 || logins["https://factory.example"].Password != "secret") {
			t.Errorf("%d logins", len(logins))
		}
	}
}
