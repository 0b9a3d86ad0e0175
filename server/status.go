package server

import (
	"cmp"
	"context"
	"errors"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	sdkerrors "github.com/projectbeskar/virtrigaud/sdk/provider/errors"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/listen"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/truenas"
)

// codeOf maps every failure to its code and reason; the first matching row wins.
//
// The manager counts Unavailable, DeadlineExceeded, Internal and Unknown towards its circuit breaker, which cuts off every VM of
// the provider, so those mean "the NAS is in trouble" and never "this request is wrong".
var codeOf = []struct {
	err  error
	code codes.Code
	why  refusal.Reason
}{
	{refusal.ErrVMFailed, codes.Unavailable, refusal.ReasonVMOperationFailed},
	{refusal.ErrDiskUnchecked, codes.Unavailable, refusal.ReasonDiskCheckFailed},
	{refusal.ErrDiskInUse, codes.FailedPrecondition, refusal.ReasonDiskInUse},
	{refusal.ErrSourceRunning, codes.FailedPrecondition, refusal.ReasonSourceRunning},
	{refusal.ErrImageInProgress, codes.Unavailable, refusal.ReasonImageInProgress},
	{refusal.ErrImageSourceUnavailable, codes.Unavailable, refusal.ReasonImageSourceUnavailable},
	{context.DeadlineExceeded, codes.Unavailable, refusal.NoReason}, // See [listen.WithinDeadline]: the server still has time to report why.
	{context.Canceled, codes.Canceled, refusal.NoReason},
	{truenas.ErrAuth, codes.PermissionDenied, refusal.NoReason},
	{ownership.ErrForeign, codes.FailedPrecondition, refusal.NoReason},
	{truenas.ErrPermission, codes.PermissionDenied, refusal.NoReason},
	{truenas.ErrUncertain, codes.Unavailable, refusal.NoReason},
	{truenas.ErrUnavailable, codes.Unavailable, refusal.NoReason},
	{truenas.ErrCertificate, codes.Unavailable, refusal.NoReason},
	{truenas.ErrUnsupported, codes.FailedPrecondition, refusal.NoReason},
	{truenas.ErrHasClones, codes.FailedPrecondition, refusal.NoReason},
	{truenas.ErrHeld, codes.FailedPrecondition, refusal.NoReason},
	{truenas.ErrNotEmpty, codes.FailedPrecondition, refusal.NoReason},
	{truenas.ErrNoDevice, codes.FailedPrecondition, refusal.NoReason},
	{truenas.ErrNoSpace, codes.ResourceExhausted, refusal.NoReason},
	{truenas.ErrNoMemory, codes.ResourceExhausted, refusal.NoReason},
	{truenas.ErrNotFound, codes.NotFound, refusal.NoReason},
	{truenas.ErrExists, codes.AlreadyExists, refusal.NoReason},
	{truenas.ErrBusy, codes.Aborted, refusal.NoReason},
	{truenas.ErrJobLost, codes.Aborted, refusal.NoReason},
	{truenas.ErrStalled, codes.Aborted, refusal.NoReason},
	{truenas.ErrAborted, codes.Aborted, refusal.NoReason},
	{truenas.ErrInvalid, codes.InvalidArgument, refusal.NoReason},
	{disk.ErrInvalid, codes.InvalidArgument, refusal.NoReason},
	{disk.ErrUnsupported, codes.InvalidArgument, refusal.NoReason},
	{disk.ErrFormat, codes.InvalidArgument, refusal.NoReason},
	{disk.ErrRefused, codes.FailedPrecondition, refusal.NoReason},
	{disk.ErrHostile, codes.FailedPrecondition, refusal.NoReason},
	{disk.ErrTooLarge, codes.FailedPrecondition, refusal.NoReason},
	{disk.ErrLength, codes.FailedPrecondition, refusal.NoReason},
	{disk.ErrChecksum, codes.FailedPrecondition, refusal.NoReason},
	{disk.ErrCorrupt, codes.FailedPrecondition, refusal.NoReason},
	{disk.ErrNotFound, codes.FailedPrecondition, refusal.NoReason},
	{disk.ErrDenied, codes.FailedPrecondition, refusal.NoReason},
	{disk.ErrUnordered, codes.FailedPrecondition, refusal.NoReason},
	{disk.ErrNoSpace, codes.ResourceExhausted, refusal.NoReason},
	// The source of an image is not the NAS, and must not open the circuit breaker.
	{disk.ErrChanged, codes.Aborted, refusal.NoReason},
	{disk.ErrUnavailable, codes.Aborted, refusal.NoReason},
}

// verdict looks a failure up in the table. A failure without a row belongs to one VM: the NAS refused an operation, as when a VM's
// process does not start, or this program cannot handle the VM's data. It does not affect the NAS and the other VMs.
func verdict(err error) (codes.Code, refusal.Reason) {
	var kind refusal.Fault
	if own := (*sdkerrors.ProviderError)(nil); !errors.As(err, &kind) && errors.As(err, &own) {
		return own.Code, refusal.NoReason
	}
	for _, row := range codeOf {
		if errors.Is(err, row.err) {
			return row.code, row.why
		}
	}
	if answered := (*truenas.Error)(nil); errors.As(err, &answered) {
		return codes.FailedPrecondition, refusal.ReasonVMOperationFailed
	}
	return codes.Internal, refusal.ReasonVMOperationFailed
}

// toStatus gives an error its gRPC code and its reason. Only a request about one VM gets a reason that is about one VM.
func toStatus(req any, err error) error {
	if _, ok := status.FromError(err); ok && !errors.As(err, new(*sdkerrors.ProviderError)) {
		return err
	}
	code, why := verdict(err)
	if why == refusal.ReasonVMOperationFailed && !aboutVM(req) {
		why = refusal.NoReason
	}
	return refusal.WithReason(code, err.Error(), why)
}

// Interceptor gives the plain errors of the handlers their gRPC codes; no other code does. It refuses a request that the API key
// has no roles for before the handler runs.
func Interceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if s, ok := info.Server.(*Server); ok {
			if ofLine04(req) {
				s.newerManager.Store(true)
			}
			if err := cmp.Or(onOneHost(req), s.permit(featureOf(req))); err != nil {
				return nil, toStatus(req, err)
			}
			handle = s.admitting(handle)
		}
		resp, err := listen.WithinDeadline(ctx, req, handle)
		if err == nil {
			return resp, nil
		}
		if s, ok := info.Server.(*Server); ok {
			err = s.public(err)
		}
		return nil, toStatus(req, err)
	}
}

// unchecked marks the failure of a check for other users of a disk. It returns the result of a completed check unchanged.
func unchecked(err error) error {
	if err == nil {
		return nil
	}
	if code, _ := verdict(err); code == codes.Unavailable {
		return refusal.Fault{Kind: refusal.ErrDiskUnchecked, Cause: err}
	}
	return err
}

// isConflict reports whether a failure means that an object is in use, or was changed at the same time.
func isConflict(err error) bool {
	code, _ := verdict(err)
	return err != nil && (code == codes.FailedPrecondition || code == codes.Aborted)
}

// aboutVM reports whether a request is about one VM.
func aboutVM(req any) bool {
	switch req.(type) {
	case *providerv1.CreateRequest, *providerv1.DeleteRequest, *providerv1.PowerRequest, *providerv1.ReconfigureRequest,
		*providerv1.DescribeRequest, *providerv1.SnapshotCreateRequest, *providerv1.SnapshotDeleteRequest,
		*providerv1.SnapshotRevertRequest, *providerv1.CloneRequest, *providerv1.ExportDiskRequest, *providerv1.GetDiskInfoRequest:
		return true
	}
	return false
}

// public returns the failure in the form that the manager's tenants may read.
func (s *Server) public(err error) error {
	if !s.newerManager.Load() {
		return err
	}
	differs, public := refusal.Public(err)
	if differs {
		s.log.Warn("request refused: it concerns an object of another owner", zap.Error(err))
	}
	return public
}

// admitting checks the owner of the tree before each request that changes the NAS.
func (s *Server) admitting(handle grpc.UnaryHandler) grpc.UnaryHandler {
	return func(ctx context.Context, req any) (any, error) {
		switch req.(type) {
		case *providerv1.CreateRequest, *providerv1.DeleteRequest, *providerv1.PowerRequest, *providerv1.ReconfigureRequest,
			*providerv1.SnapshotCreateRequest, *providerv1.SnapshotDeleteRequest, *providerv1.SnapshotRevertRequest,
			*providerv1.CloneRequest, *providerv1.ImagePrepareRequest, *providerv1.ImportDiskRequest, *providerv1.ExportDiskRequest:
			if err := s.claims.Admit(ctx); err != nil {
				return nil, err
			}
		}
		return handle(ctx, req)
	}
}
