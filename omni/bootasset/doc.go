// Package bootasset holds the messages of GetBootAssetURL, a call of Omni's management API that the client library of Omni 1.9
// lacks. The adapter calls it by its full name, /management.ManagementService/GetBootAssetURL.
package bootasset
