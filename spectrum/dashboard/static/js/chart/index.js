// What pages import: charts, sparks, legends.

export { chart } from './chart.js';
export { colorist, OTHER } from './colors.js';
export { legend } from './legend.js';
export { bucketFor, bucketName, bucketTimes } from './scale.js';
export { spark } from './spark.js';
export { zoneOffset } from './zone.js';
