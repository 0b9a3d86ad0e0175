// Package check holds nothing but tests, of what an operator applies: that the charts lint and render, that every manifest decodes
// strictly into the types of Kubernetes and VirtRigaud and passes VirtRigaud's own schemas, and that the flags, variables and ports in
// them are those of the programs. It is a module of its own, so that what it needs for that is never needed by the programs.
package check
