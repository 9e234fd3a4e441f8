package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// readSets reads files with a FileDescriptorSet each.
func readSets(names []string) (*schema, error) {
	all := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fail(exitUsage, "", "cannot read the descriptor set: %w", err)
		}
		set := &descriptorpb.FileDescriptorSet{}
		if err := proto.Unmarshal(data, set); err != nil || len(set.GetFile()) == 0 {
			return nil, fail(exitUsage, "make one with protoc --include_imports --descriptor_set_out=FILE; for a .proto file use --proto", "cannot read %s: it is no FileDescriptorSet", name)
		}
		for _, f := range set.GetFile() {
			if !seen[f.GetName()] {
				seen[f.GetName()] = true
				all.File = append(all.File, f)
			}
		}
	}
	from := strings.Join(names, ", ")
	files, err := linkFiles(all.GetFile())
	if err != nil {
		return nil, fail(exitUsage, "make it with protoc --include_imports", "cannot use %s: %w", from, err)
	}
	return newSchema(files, from), nil
}

// linkFiles joins files; imports that are missing and linked in here (the
// well-known types) are added.
func linkFiles(list []*descriptorpb.FileDescriptorProto) (*protoregistry.Files, error) {
	have := map[string]bool{}
	for _, f := range list {
		have[f.GetName()] = true
	}
	for i := 0; i < len(list); i++ {
		for _, dep := range list[i].GetDependency() {
			if have[dep] || !strings.HasPrefix(dep, "google/protobuf/") {
				continue
			}
			if known, err := protoregistry.GlobalFiles.FindFileByPath(dep); err == nil {
				have[dep] = true
				list = append(list, protodesc.ToFileDescriptorProto(known))
			}
		}
	}
	return protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: list})
}

// compileProtos compiles .proto files. Without an import path their own
// directories are searched.
func compileProtos(ctx context.Context, names, imports []string) (*schema, error) {
	dirs := append([]string{}, imports...)
	var relative []string
	for _, name := range names {
		if _, err := os.Stat(name); err != nil {
			if len(imports) == 0 {
				return nil, fail(exitUsage, "", "cannot read the .proto file: %w", err)
			}
			relative = append(relative, name) // as protoc takes it: below an import path
			continue
		}
		rel, ok := below(name, imports)
		if !ok {
			rel = filepath.Base(name)
			dirs = append(dirs, filepath.Dir(name))
		}
		relative = append(relative, rel)
	}
	compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: dirs})}
	from := strings.Join(names, ", ")
	compiled, err := compiler.Compile(ctx, relative...)
	if err != nil {
		return nil, fail(exitUsage, "imports are searched in the directories given with -I", "cannot compile %s: %w", from, err)
	}
	files := &protoregistry.Files{}
	for _, f := range compiled {
		if err := register(files, f); err != nil {
			return nil, fail(exitUsage, "", "cannot use %s: %w", from, err)
		}
	}
	return newSchema(files, from), nil
}

// register adds a file after its imports.
func register(files *protoregistry.Files, f protoreflect.FileDescriptor) error {
	if _, err := files.FindFileByPath(f.Path()); err == nil {
		return nil
	}
	for i := range f.Imports().Len() {
		if err := register(files, f.Imports().Get(i).FileDescriptor); err != nil {
			return err
		}
	}
	return files.RegisterFile(f)
}

// below is the name of a file relative to the first directory it is in.
func below(name string, dirs []string) (string, bool) {
	for _, dir := range dirs {
		if absolute, err := filepath.Abs(name); err == nil {
			if base, err := filepath.Abs(dir); err == nil {
				if rel, err := filepath.Rel(base, absolute); err == nil && filepath.IsLocal(rel) {
					return filepath.ToSlash(rel), true
				}
			}
		}
	}
	return "", false
}
