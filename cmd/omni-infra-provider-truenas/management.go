package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"

	"github.com/siderolabs/go-api-signature/pkg/client/interceptor"
	pgpclient "github.com/siderolabs/go-api-signature/pkg/pgp/client"
	"github.com/siderolabs/image-factory/pkg/schematic"
	omnimanagement "github.com/siderolabs/omni/client/api/omni/management"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"virtrigaud-provider-truenas/omni"
	"virtrigaud-provider-truenas/omni/bootasset"
)

// Calls and fields of Omni's management API that the client library of 1.9 lacks.
const (
	methodBootAsset = "/management.ManagementService/GetBootAssetURL"
	methodSchematic = "/management.ManagementService/CreateSchematicFromRaw"

	// fieldTalosVersion is CreateSchematicFromRawRequest.talos_version. With two image factories, Omni 1.10 uses it to choose the
	// factory of the schematic; an older Omni ignores it.
	fieldTalosVersion = 2
)

// management is a connection to Omni's management API, signed with the service account's key.
type management struct{ conn *grpc.ClientConn }

// dialManagement makes the connection. It sends nothing before the first call.
func dialManagement(o *options) (*management, error) {
	u, err := url.Parse(o.endpoint)
	if err != nil {
		return nil, err
	}
	transport, port := insecure.NewCredentials(), "80"
	if u.Scheme == "https" {
		transport, port = credentials.NewTLS(&tls.Config{InsecureSkipVerify: o.skipVerify, MinVersion: tls.VersionTLS12}), "443" //nolint:gosec // As the operator requests.
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), port)
	}
	signing := interceptor.New(interceptor.Options{UserKeyProvider: pgpclient.NewKeyProvider("omni/keys"), ClientName: name, ServiceAccountBase64: o.key})
	conn, err := grpc.NewClient(host, grpc.WithTransportCredentials(transport), grpc.WithUnaryInterceptor(signing.Unary()))
	return &management{conn}, err
}

// DiskAsset implements [omni.AssetSource].
func (m *management) DiskAsset(ctx context.Context, q omni.AssetQuery) (omni.Asset, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	req := &bootasset.Request{
		TalosVersion: q.TalosVersion, SchematicId: q.Schematic, BootAssetKind: bootasset.Request_KIND_DISK,
		Platform: "nocloud", Architecture: "amd64", Format: q.Format, SecureBoot: q.SecureBoot,
	}
	var resp bootasset.Response
	switch err := m.conn.Invoke(ctx, methodBootAsset, req, &resp); {
	case status.Code(err) == codes.Unimplemented:
		return omni.Asset{}, omni.ErrNoAssets
	case status.Code(err) == codes.NotFound:
		return omni.Asset{}, nil
	case err != nil:
		return omni.Asset{}, err
	}
	return omni.Asset{URL: resp.GetUrl(), Headers: resp.GetHeaders(), Key: resp.GetStorageKey()}, nil
}

// EnsureSchematic implements the SDK's factory client.
func (m *management) EnsureSchematic(ctx context.Context, wanted schematic.Schematic) (string, error) {
	raw, err := wanted.Marshal()
	if err != nil {
		return "", fmt.Errorf("encoding of the schematic failed: %w", err)
	}
	req := &omnimanagement.CreateSchematicFromRawRequest{RawSchematic: raw}
	if version := omni.TalosVersion(ctx); version != "" {
		field := protowire.AppendTag(nil, fieldTalosVersion, protowire.BytesType)
		req.ProtoReflect().SetUnknown(protowire.AppendString(field, version))
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var resp omnimanagement.CreateSchematicResponse
	if err := m.conn.Invoke(ctx, methodSchematic, req, &resp); err != nil {
		return "", fmt.Errorf("creation of the schematic through Omni failed: %w", err)
	}
	return resp.GetSchematicId(), nil
}
