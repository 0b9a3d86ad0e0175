// Package check contains only tests of charts and manifests: the charts lint and render, every manifest decodes strictly into
// the types of Kubernetes and VirtRigaud and passes VirtRigaud's own schemas, and its flags, variables and ports match the
// programs. It is a module of its own, so that the programs do not depend on its dependencies.
package check
