package manager04

import (
	"context"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// Manager is the manager of a Provider object.
type Manager struct {
	Client   providerv1.ProviderClient
	Provider *providerv1.ObjectIdentity // the Provider object
	Failures int                        // calls in a row that the circuit breaker counts; it opens at ten

	offers *providerv1.GetCapabilitiesResponse
}

// New returns a manager that has not read the provider's capabilities yet.
func New(client providerv1.ProviderClient) *Manager {
	return &Manager{Client: client, Provider: &providerv1.ObjectIdentity{Uid: "99999999-0000-4000-8000-000000000000", Namespace: "infra", Name: "nas"}}
}

// Next is the result of a step and the manager's wait.
type Next struct {
	After  time.Duration // the wait until the next step
	Reason string        // the condition's reason; Ready when no work remains
	Err    error         // the last failure
}

// The reasons of a condition.
const (
	Ready                  = "Ready"
	ProviderLacksIdentity  = "ProviderLacksArtifactIdentity"
	WaitingForImage        = "WaitingForImage"
	ImageInProgress        = "ArtifactInProgress"
	ImageSourceUnavailable = "SourceUnavailable"
	ImageImportFailed      = "ImportFailed"
	ImageConflict          = "ArtifactConflict"
	ImageNotConfirmed      = "ArtifactNotConfirmed"
	ImageInvalid           = "InvalidSource"
	ValidationError        = "ValidationError"
	ProviderConflict       = "ProviderConflict"
	ProviderError          = "ProviderError"
	Creating               = "Creating"
	Powering               = "Powering"
	RestartRequired        = "RestartRequired"
	PowerStateUnmanaged    = "PowerStateUnmanaged"
	DeleteBlocked          = "DeleteBlocked"
	Deleted                = "Deleted"
	pollTask               = 5 * time.Second
	again                  = 5 * time.Second
	hold                   = 30 * time.Second
	domain                 = "provider.virtrigaud.io"
	vmOperationFailed      = "VM_OPERATION_FAILED"
	vmDiskCheckFailed      = "VM_DISK_CHECK_FAILED"
	vmDiskInUse            = "VM_DISK_IN_USE"
	imageInProgress        = "IMAGE_ARTIFACT_IN_PROGRESS"
	imageSourceUnavailable = "IMAGE_SOURCE_UNAVAILABLE"
)

// Done reports whether no work remains.
func (n Next) Done() bool { return n.Reason == Ready || n.Reason == Deleted }

// Look reads the capabilities of the provider, as the manager does periodically.
func (m *Manager) Look(ctx context.Context) error {
	offers, err := m.Client.GetCapabilities(ctx, &providerv1.GetCapabilitiesRequest{})
	if m.count(err); err != nil {
		return err
	}
	m.offers = offers
	return nil
}

// Reason returns the reason in a failure that the manager handles, or "". It ignores details of other domains.
func Reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain {
			return info.GetReason()
		}
	}
	return ""
}

// count counts a failure towards the circuit breaker, except for one that belongs to one VM or to the source of an image.
func (m *Manager) count(err error) {
	switch Reason(err) {
	case vmOperationFailed, vmDiskCheckFailed, imageInProgress, imageSourceUnavailable:
		return
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown:
		m.Failures++
	default:
		m.Failures = 0
	}
}

// finished polls a task once. After a failure of the call itself it reports the task as running.
func (m *Manager) finished(ctx context.Context, task *providerv1.TaskRef) (done bool, failure string) {
	resp, err := m.Client.TaskStatus(ctx, &providerv1.TaskStatusRequest{Task: task})
	m.count(err)
	return err == nil && resp.GetDone(), resp.GetError()
}
