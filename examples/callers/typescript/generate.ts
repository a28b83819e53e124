// Makes gen/ of Stigma's protos: `npm run generate`. The protos themselves, which the client loads,
// and their types. Where they come from is `config.protos` of package.json.
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { LOADING, SERVICES } from './src/stigma/protos.ts';

const here = path.dirname(fileURLToPath(import.meta.url));
const protos = path.resolve(here, process.env.npm_package_config_protos ?? 'protos');
const generated = path.join(here, 'gen');

rmSync(generated, { recursive: true, force: true });
for (const part of ['agent', 'workflow']) {
  const folder = path.join('stigma', part);
  cpSync(path.join(protos, folder), path.join(generated, 'protos', folder), { recursive: true });
}
const made = spawnSync(
  process.execPath,
  [
    path.join(here, 'node_modules/@grpc/proto-loader/build/bin/proto-loader-gen-types.js'),
    // As the client loads them.
    ...(LOADING.defaults ? ['--defaults'] : []),
    ...(LOADING.oneofs ? ['--oneofs'] : []),
    `--longs=${LOADING.longs.name}`,
    `--enums=${LOADING.enums.name}`,
    '--grpcLib=@grpc/grpc-js',
    '--importFileExtension=.ts',
    `--outDir=${generated}`,
    `--includeDirs=${path.join(generated, 'protos')}`,
    '--',
    ...SERVICES,
  ],
  { stdio: 'inherit' },
);
process.exit(made.status ?? 1);
