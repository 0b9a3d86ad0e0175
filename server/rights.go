package server

import (
	"slices"

	"google.golang.org/grpc/codes"
)

// roleUpload is what TrueNAS asks of whoever uploads or downloads a file; it has no smaller role
// for that.
const roleUpload = "FULL_ADMIN"

// mayUpload says whether the key may send files to the NAS and fetch them. While it is not known
// what the key may do, the NAS is asked to refuse it.
func (s *Server) mayUpload() bool {
	roles := s.nas.Status().Roles
	return len(roles) == 0 || slices.Contains(roles, roleUpload)
}

// needUpload refuses what cannot work without that right before anything is changed.
func (s *Server) needUpload(field string) error {
	if s.mayUpload() {
		return nil
	}
	return refused(codes.PermissionDenied, "%s: needs files to be moved to or from the NAS, which TrueNAS allows only a key with the role %s", field, roleUpload)
}
